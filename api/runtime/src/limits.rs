//! What the kernel allows a process.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process and its children open as many files as they may, and returns how many.
///
/// Every connection is a file. Many systems allow 1024 until somebody asks for more, for the sake of programs that use
/// `select`.
///
/// # Errors
///
/// When the kernel refuses, which it does not within the hard limit.
pub fn raise_file_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_asked_for() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_file_limit().unwrap(), hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
