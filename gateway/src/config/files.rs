//! The files of a configuration, each with what it said when it was read: what has changed since then shows, however long
//! what was read takes to be understood.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes that a file of the configuration may have: more than anybody writes, and less than hurts.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What files said.
#[derive(Clone, Debug, Default)]
pub struct Files(BTreeMap<PathBuf, [u8; 32]>);

impl Files {
    /// What these files say now.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), says(path))).collect())
    }

    /// Their names.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// What the same files say now.
    #[must_use]
    pub fn now(&self) -> Self {
        Self::of(self.paths())
    }

    /// A digest of all that they said.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (path, said) in &self.0 {
            digest.update(path.as_os_str().as_encoded_bytes());
            digest.update(said);
        }
        digest.finalize().into()
    }

    /// These, and what `others` said; of a file of both, what it said to them.
    #[must_use]
    pub fn with(mut self, others: &Self) -> Self {
        self.0.extend(others.0.iter().map(|(path, said)| (path.clone(), *said)));
        self
    }

    /// The text of a file; what it said is noted, also where that is no text.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<String> {
        let content = content(path);
        let said = noted(path, &content);
        // Who reads a file twice may have read two things; that is no state of it.
        self.0
            .entry(path.to_owned())
            .and_modify(|known| *known = if *known == said { said } else { [0; 32] })
            .or_insert(said);
        String::from_utf8(content?).map_err(|_not_utf8| io::Error::other("it is not UTF-8"))
    }
}

/// As much of a file as may be.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("it has more than 16 MiB, and is no file of a configuration"));
    }
    Ok(content)
}

/// What a file says now. What is no file of a bearable size is not read: a pipe would be waited for, and a device has no
/// end.
fn says(path: &Path) -> [u8; 32] {
    match is_readable(path) {
        Ok(()) => noted(path, &content(path)),
        Err(error) => of_kind(&error),
    }
}

fn noted(path: &Path, content: &io::Result<Vec<u8>>) -> [u8; 32] {
    match (is_readable(path), content) {
        (Ok(()), Ok(content)) => Sha256::digest(content).into(),
        (Ok(()), Err(error)) => of_kind(error),
        (Err(error), _) => of_kind(&error),
    }
}

fn is_readable(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_file() && metadata.len() <= LARGEST { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn of_kind(error: &io::Error) -> [u8; 32] {
    Sha256::digest(format!("{:?}", error.kind())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_since_it_was_read_shows() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        std::fs::write(&one, "a").unwrap();
        let mut files = Files::default();
        assert_eq!(files.read(&one).unwrap(), "a");
        assert!(files.read(&other).is_err());
        assert_eq!(files.now().digest(), files.digest(), "the control");
        std::fs::write(&other, "a").unwrap();
        assert_ne!(files.now().digest(), files.digest(), "it is there now");
        std::fs::write(&one, "b").unwrap();
        let mut again = Files::default();
        assert_eq!(again.read(&one).unwrap(), "b");
        assert_eq!(files.now().digest(), files.clone().now().with(&again).digest());
        std::fs::write(&one, "c").unwrap();
        again.read(&one).unwrap();
        assert_ne!(again.now().digest(), again.digest(), "it said two things");
    }

    #[test]
    fn what_is_no_text_is_the_same_at_every_look() {
        let directory = tempfile::tempdir().unwrap();
        let [binary, folder, large] = ["binary", "folder", "large"].map(|name| directory.path().join(name));
        std::fs::write(&binary, [0xff]).unwrap();
        std::fs::create_dir(&folder).unwrap();
        File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
        for path in [binary, folder, large, directory.path().join("nowhere")] {
            let mut files = Files::default();
            assert!(files.read(&path).is_err());
            assert_eq!(files.now().digest(), files.digest(), "{}", path.display());
        }
    }
}
