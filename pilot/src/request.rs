//! `pilot-discovery request`: asks a running Pilot, as `istioctl` does from inside the pod.

use std::io::{Read, Write, stderr, stdout};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use mesh_runtime::version::BuildInfo;

use crate::args::RequestArgs;

/// How long Pilot may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Sends the request and prints the body of the answer and nothing else, since tools parse it. Errors go to stderr.
pub fn run(args: &RequestArgs) -> ExitCode {
    match send(args) {
        Ok((true, body)) => print(&body),
        Ok((false, body)) => {
            print(&body);
            ExitCode::FAILURE
        }
        Err(error) => {
            // Nothing is left to do about a closed stderr.
            let _ = writeln!(stderr(), "cannot ask Pilot at {}: {error}", args.address);
            ExitCode::FAILURE
        }
    }
}

/// Prints the version.
pub fn version() -> ExitCode {
    let build = BuildInfo::of("pilot-discovery");
    print(format!("{} {}-{}\n", build.component, build.version, build.revision).as_bytes())
}

fn print(body: &[u8]) -> ExitCode {
    match stdout().write_all(body) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Whether the answer is a success, and its body.
fn send(args: &RequestArgs) -> std::io::Result<(bool, Vec<u8>)> {
    let mut stream = TcpStream::connect(args.address.to_string())?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // HTTP/1.0 so that the end of the body is the end of the connection.
    write!(
        stream,
        "{} {} HTTP/1.0\r\nhost: {}\r\n\r\n",
        args.method, args.path, args.address
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or(answer.len());
    let status = String::from_utf8_lossy(&answer[..head])
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let body = answer.get(head + 4..).unwrap_or_default().to_vec();
    Ok((status.starts_with('2'), body))
}
