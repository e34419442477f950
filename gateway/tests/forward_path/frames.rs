//! HTTP/2 by the byte, for frames that no client library sends (RFC 9113 section 4).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// How long a silent peer is waited for.
const QUIET: Duration = Duration::from_millis(700);

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The client's end of a connection.
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    /// Connects, with these settings as (identifier, value).
    pub(crate) async fn connect(to: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self { stream: TcpStream::connect(to).await.unwrap(), buffer: Vec::new() };
        let pair = |(id, value): &(u16, u32)| [id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat();
        let settings: Vec<u8> = settings.iter().flat_map(pair).collect();
        assert!(peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await);
        assert!(peer.send(&frame(SETTINGS, 0, 0, &settings)).await);
        peer
    }

    /// Whether it could be sent, while whatever comes is kept.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let (mut read, mut write) = self.stream.split();
        let write = async { write.write_all(bytes).await.is_ok() };
        tokio::pin!(write);
        loop {
            tokio::select! {
                sent = &mut write => return sent,
                came = read.read_buf(&mut self.buffer) => if !matches!(came, Ok(bytes) if bytes > 0) {
                    return false;
                },
                () = tokio::time::sleep(3 * QUIET) => return false,
            }
        }
    }

    /// The next frame; `None` when the gateway closed, or is silent.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, _, d, e, f, g, ..] = *self.buffer.as_slice() {
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if self.buffer.len() >= 9 + length {
                    let payload = self.buffer[9..9 + length].to_vec();
                    self.buffer.drain(..9 + length);
                    return Some(Frame { kind, stream: u32::from_be_bytes([d, e, f, g]), payload });
                }
            }
            let came = tokio::time::timeout(QUIET, self.stream.read_buf(&mut self.buffer)).await;
            if !matches!(came, Ok(Ok(bytes)) if bytes > 0) {
                return None;
            }
        }
    }

    /// Whether the gateway ends the connection: it says so, or closes.
    pub(crate) async fn is_ended(&mut self) -> bool {
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                return true;
            }
        }
        !self.send(&frame(PING, 0, 0, &[0; 8])).await || self.next().await.is_none()
    }

    /// The error code of the reset of this stream, or that it got an answer (`None`).
    pub(crate) async fn outcome(&mut self, stream: u32) -> Option<u32> {
        while let Some(frame) = self.next().await {
            match frame.kind {
                RST_STREAM if frame.stream == stream => {
                    return Some(u32::from_be_bytes(frame.payload.try_into().unwrap()));
                }
                GOAWAY => return Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap())),
                HEADERS if frame.stream == stream => return None,
                _ => {}
            }
        }
        panic!("stream {stream} is neither answered nor reset")
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [[a, b, c, kind, flags].as_slice(), &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that are not indexed (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [[u8::try_from(text.len()).unwrap()].as_slice(), text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The fields of a request, before further ones.
pub(crate) fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "mcp.example")];
    block(&[pseudo.as_slice(), more].concat())
}
