//! A temporary folder that does not outlive this process.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Removed when it is dropped, and also when this process is killed or ends without dropping it, as it does with what
/// all tests share.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Removes the folder when its input ends, as it does in any case when this process ends.
    sweeper: Child,
}

/// Tries for a while: what wrote into the folder is killed at the same time.
const SWEEP: &str = r#"cat; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$0" && exit 0; sleep 0.2; done"#;

// === impl Folder ===

impl Folder {
    pub(super) fn new() -> io::Result<Self> {
        let path = tempfile::Builder::new()
            .prefix("istio-rs-kube-")
            .tempdir()?
            .keep();
        let sweeper = Command::new("sh")
            .args(["-c", SWEEP])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the tests; it sees their end.
            .process_group(0)
            .spawn()?;
        Ok(Self { path, sweeper })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_that_is_in_it() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        std::fs::create_dir(path.join("data")).unwrap();
        std::fs::write(path.join("data/file"), "text").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
