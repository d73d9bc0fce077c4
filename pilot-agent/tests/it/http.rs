//! As much HTTP/1.1 as the tests need.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::pod::Pod;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// `GET path` on a connection of its own; `None` if nobody answers.
pub(crate) fn get(pod: &Pod, port: u16, path: &str) -> Option<Answer> {
    send(pod, "GET", port, path, "")
}

/// A request without body on a connection of its own.
pub(crate) fn send(pod: &Pod, method: &str, port: u16, path: &str, headers: &str) -> Option<Answer> {
    let mut stream = pod.connect(port).ok()?;
    exchange(
        &mut stream,
        &format!("{method} {path} HTTP/1.1\r\nhost: pod\r\n{headers}content-length: 0\r\n"),
    )
}

/// A request on an open connection that stays open.
pub(crate) fn get_on(stream: &mut TcpStream, path: &str) -> Option<Answer> {
    exchange(stream, &format!("GET {path} HTTP/1.1\r\nhost: pod\r\n"))
}

fn exchange(stream: &mut TcpStream, head: &str) -> Option<Answer> {
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    let head = read_head(stream)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
            .next()
    };
    let mut body = Vec::new();
    if let Some(length) = header("content-length") {
        body.resize(length.parse().ok()?, 0);
        stream.read_exact(&mut body).ok()?;
    } else if header("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(read_until(stream, b"\r\n")?.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).ok()?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    Some(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The head of a request or an answer.
pub(crate) fn read_head(stream: &mut TcpStream) -> Option<String> {
    read_until(stream, b"\r\n\r\n")
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Option<String> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end) {
        stream.read_exact(&mut byte).ok()?;
        read.push(byte[0]);
    }
    String::from_utf8(read).ok()
}
