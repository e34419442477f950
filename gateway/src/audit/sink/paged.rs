//! What a database gives a page at a time, read as one text.

use std::io::{self, Cursor, Read};

/// The lines of one page, each with a line break.
#[derive(Debug, Default)]
pub(super) struct Page {
    lines: Cursor<Vec<u8>>,
    /// Whether there are none behind it: it is empty then.
    is_last: bool,
}

impl Page {
    pub(super) fn new(lines: Vec<u8>, is_last: bool) -> Self {
        Self { lines: Cursor::new(lines), is_last }
    }
}

/// Turns pages.
pub(super) trait Paged {
    /// The page that is read.
    fn page(&mut self) -> &mut Page;

    /// Lets the next one be that.
    fn turn(&mut self) -> io::Result<()>;

    /// [`Read::read`] of all of them.
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let page = self.page();
            let count = page.lines.read(buffer)?;
            if count > 0 || page.is_last || buffer.is_empty() {
                return Ok(count);
            }
            self.turn()?;
        }
    }
}
