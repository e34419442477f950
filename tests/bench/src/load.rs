//! A load generator: so many connections, each sending the same request again as soon as it is answered.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What is asked, and of whom.
#[derive(Clone)]
pub(crate) struct Load {
    /// Who is asked.
    pub(crate) target: SocketAddr,
    /// The request, as bytes.
    pub(crate) request: Vec<u8>,
    /// How many connections ask at once.
    pub(crate) connections: usize,
}

impl Load {
    /// Asks for that long; returns how many answers came. Anything but a 200 ends the run.
    pub(crate) async fn run(&self, duration: Duration) -> io::Result<u64> {
        let end = Instant::now() + duration;
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..self.connections {
            let load = self.clone();
            running.spawn(async move { load.connection(end).await });
        }
        let mut answered = 0;
        while let Some(finished) = running.join_next().await {
            answered += finished.map_err(io::Error::other)??;
        }
        Ok(answered)
    }

    async fn connection(&self, end: Instant) -> io::Result<u64> {
        let mut stream = TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(128 * 1024);
        let mut answered = 0;
        while Instant::now() < end {
            stream.write_all(&self.request).await?;
            answer(&mut stream, &mut buffer).await?;
            answered += 1;
        }
        Ok(answered)
    }
}

/// Opens that many event streams and holds them; each has sent its head and first event.
pub(crate) async fn open_streams(target: SocketAddr, request: &[u8], number: usize) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(number);
    for _ in 0..number {
        let mut stream = TcpStream::connect(target).await?;
        stream.write_all(request).await?;
        let mut buffer = Vec::new();
        while !buffer.windows(5).any(|window| window == b"data:") {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::Error::other(format!("no stream: {}", String::from_utf8_lossy(&buffer))));
            }
        }
        streams.push(stream);
    }
    Ok(streams)
}

/// Reads one answer, by its `Content-Length` or its chunks, and forgets it.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    let mut whole = None;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if whole.is_none() {
            whole = size(buffer)?;
        }
        match whole {
            Some(Size::Known(whole)) if buffer.len() >= whole => return Ok(()),
            Some(Size::Chunked) if buffer.ends_with(b"\r\n0\r\n\r\n") => return Ok(()),
            _ => {}
        }
    }
}

enum Size {
    /// Head and body.
    Known(usize),
    Chunked,
}

fn size(buffer: &[u8]) -> io::Result<Option<Size>> {
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n").and_then(|end| buffer.get(..end))
    else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(io::Error::other(format!("not answered with 200: {}", String::from_utf8_lossy(buffer))));
    }
    if text.contains("\r\ntransfer-encoding: chunked") {
        return Ok(Some(Size::Chunked));
    }
    let length = text.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other(format!("an answer without a length: {text}")))?;
    Ok(Some(Size::Known(head.len() + 4 + length)))
}
