//! Where a mesh keeps its files, and the lock that makes it the only one of its name.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often the removal of a folder is tried into which somebody still writes.
const REMOVALS: usize = 100;

/// The folders and files of one mesh. They all go away with it.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// Held while a mesh runs. The kernel releases it however the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Whether a mesh runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody holds the lock.
    Nobody,
    /// This process does.
    Process(i32),
}

// === impl Layout ===

impl Layout {
    /// The place of the mesh `name` below a build folder; the unnamed one has the plain path.
    #[must_use]
    pub fn in_target(target: &Path, name: Option<&str>) -> Self {
        let folder = name.map_or("mesh".to_owned(), |name| format!("mesh-{name}"));
        Self {
            root: target.join(folder),
        }
    }

    /// The folder that holds everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What other commands and tools read about the running mesh.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Output of every process, one file per container.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// What Galley reads.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// How programs in pods find the API server.
    pub(crate) fn kubernetes(&self) -> PathBuf {
        self.root.join("kubernetes")
    }

    /// Output of the mesh itself, when it runs detached.
    #[must_use]
    pub fn own_log(&self) -> PathBuf {
        self.logs().join("mesh.log")
    }

    /// Objects that were applied to the running mesh.
    pub(crate) fn applied(&self) -> PathBuf {
        self.root.join("applied")
    }

    /// Scratch folders and volumes of the pods.
    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// Where the running mesh takes requests.
    pub(crate) fn control(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Output of one container.
    pub(crate) fn container_log(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        self.logs().join(format!("{pod}.{namespace}.{container}.log"))
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Takes the place for this process and empties it.
    ///
    /// # Errors
    /// When a mesh of this name runs already.
    pub(crate) fn take(&self) -> Result<Lock> {
        fs::create_dir_all(&self.root).with_context(|| format!("cannot create {}", self.root.display()))?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.lock_file())
            .context("cannot open the lock")?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "a mesh runs here already (process {}): end it with `cargo mesh down`, or give this one another --name",
                    read_pid(&mut file).map_or("unknown".to_owned(), |pid| pid.to_string())
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock"),
        }
        // What an earlier mesh left when it was killed.
        self.empty()?;
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        for folder in [self.logs(), self.config(), self.applied(), self.pods()] {
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(Lock { _file: file })
    }

    /// Who runs the mesh of this place.
    ///
    /// # Errors
    /// When the lock cannot be read.
    pub fn holder(&self) -> Result<Holder> {
        let mut file = match File::options().read(true).write(true).open(self.lock_file()) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Holder::Nobody),
            Err(error) => return Err(error).context("cannot open the lock"),
        };
        match file.try_lock() {
            Ok(()) => Ok(Holder::Nobody),
            Err(TryLockError::WouldBlock) => match read_pid(&mut file) {
                Some(pid) => Ok(Holder::Process(pid)),
                None => bail!("the lock is held but names no process"),
            },
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock"),
        }
    }

    /// Asks the holder to leave, or makes it.
    pub(crate) fn signal(pid: i32, signal: Signal) {
        // It may have left by itself.
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// Removes everything, the folder itself included.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove(&self) -> Result<()> {
        for _ in 0..REMOVALS {
            match fs::remove_dir_all(&self.root) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                // A process on its way out has written one more file.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                done => return done.with_context(|| format!("cannot remove {}", self.root.display())),
            }
        }
        bail!(
            "cannot remove {}: somebody goes on writing into it",
            self.root.display()
        )
    }

    /// Removes everything but the lock.
    fn empty(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path == self.lock_file() {
                continue;
            }
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_mesh_of_the_same_name_is_refused_with_the_way_out() {
        let target = tempfile::tempdir().unwrap();
        let layout = Layout::in_target(target.path(), None);
        let lock = layout.take().unwrap();
        let text = layout.take().unwrap_err().to_string();
        assert!(
            text.contains("cargo mesh down") && text.contains("--name"),
            "{text}"
        );
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert_eq!(
            layout.holder().unwrap(),
            Holder::Process(i32::try_from(std::process::id()).unwrap())
        );
        drop(lock);
        assert_eq!(layout.holder().unwrap(), Holder::Nobody);
        Layout::in_target(target.path(), Some("other")).take().unwrap();
    }

    #[test]
    fn taking_a_place_removes_what_a_killed_mesh_left() {
        let target = tempfile::tempdir().unwrap();
        let layout = Layout::in_target(target.path(), None);
        drop(layout.take().unwrap());
        fs::write(layout.state(), "{}").unwrap();
        fs::write(layout.logs().join("a.log"), "x").unwrap();
        let _lock = layout.take().unwrap();
        assert!(!layout.state().exists() && !layout.logs().join("a.log").exists());
        layout.remove().unwrap();
        assert!(!layout.root().exists());
    }
}
