//! A folder of generated files that another process watches.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Keeps a folder equal to a set of files, touching only what changes.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    current: BTreeMap<PathBuf, String>,
}

// === impl Folder ===

impl Folder {
    /// An empty folder.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            current: BTreeMap::new(),
        }
    }

    /// Makes the folder hold exactly `wanted`. Every file changes at once: readers never see half of one.
    ///
    /// Files of one call become visible one after another; whoever watches waits for a quiet moment.
    pub(crate) fn sync(&mut self, wanted: BTreeMap<PathBuf, String>) -> io::Result<()> {
        for path in self.current.keys().filter(|path| !wanted.contains_key(*path)) {
            match fs::remove_file(self.root.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for (path, text) in &wanted {
            if self.current.get(path) != Some(text) {
                self.create_parents(path)?;
                replace(&self.root.join(path), text.as_bytes())?;
            }
        }
        self.current = wanted;
        Ok(())
    }

    /// Creates the folders of a file, but never the root: when that is gone, so is the mesh.
    fn create_parents(&self, path: &Path) -> io::Result<()> {
        let mut folder = self.root.clone();
        for part in path.parent().into_iter().flat_map(Path::components) {
            folder.push(part);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes a file so that readers see the old or the new text, never a part.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    fs::write(&temporary, bytes)?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn files(pairs: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
        pairs
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn files_that_do_not_change_are_not_touched_and_others_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(dir.path().to_owned());
        folder
            .sync(files(&[
                ("a/same.yaml", "1"),
                ("old.yaml", "2"),
                ("new.yaml", "3"),
            ]))
            .unwrap();
        let inode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().ino();
        let (same, changed) = (inode("a/same.yaml"), inode("new.yaml"));
        folder
            .sync(files(&[("a/same.yaml", "1"), ("new.yaml", "4")]))
            .unwrap();
        assert_eq!(inode("a/same.yaml"), same);
        assert_ne!(inode("new.yaml"), changed);
        assert!(!dir.path().join("old.yaml").exists());
        assert_eq!(fs::read_to_string(dir.path().join("new.yaml")).unwrap(), "4");
    }

    #[test]
    fn a_folder_that_was_removed_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("gone");
        let mut folder = Folder::new(root.clone());
        assert!(folder.sync(files(&[("a/b.yaml", "1")])).is_err());
        assert!(!root.exists());
    }
}
