//! A pod's view of the file system: the machine's, with a writable layer that goes away with the pod.
//!
//! Every folder of the machine's root is shown through an overlay of its own. One overlay of the root would do for
//! root, but inside a user namespace the kernel refuses an overlay of a folder below which something is mounted:
//! such a folder is taken apart until what is mounted stands alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{AccessFlags, access, chdir, pivot_root};

use super::protocol::{Bind, FileSpec};

/// Folders of the kernel, which every pod sees as they are.
const SHARED: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Folders that every pod has for itself, empty.
const PRIVATE: [&str; 2] = ["/run", "/tmp"];

/// Where the machine's root hangs while the pod's root is being prepared.
const OLD_ROOT: &str = "/.old-root";

/// Writable layers of folders that are opened later.
const LAYERS: &str = "/.mesh/layers";

/// How deep folders are taken apart.
const MAX_DEPTH: usize = 4;

/// Where the pod's root is put together.
struct Layers {
    scratch: PathBuf,
    overlays: usize,
}

/// Makes a writable copy-on-write view of the machine's root the root of this mount namespace.
///
/// All writes land in a `tmpfs` over `scratch`, which only this namespace sees.
pub(super) fn enter_root(scratch: &Path, files: &[FileSpec], binds: &[Bind]) -> Result<()> {
    // Links in the sources must be followed while the old root is still the root.
    let binds = binds
        .iter()
        .map(|bind| {
            let source = fs::canonicalize(&bind.source)
                .with_context(|| format!("cannot find {}", bind.source.display()))?;
            Ok(Bind {
                source: below(Path::new(OLD_ROOT), &source),
                ..bind.clone()
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let scratch = fs::canonicalize(scratch).with_context(|| format!("cannot find {}", scratch.display()))?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;

    let mut layers = Layers::new(scratch)?;
    layers.show_root()?;
    let root = layers.scratch.join("root");
    fs::create_dir(below(&root, Path::new(OLD_ROOT)))?;
    pivot_root(&root, &below(&root, Path::new(OLD_ROOT))).context("cannot change the root")?;
    chdir("/")?;
    for file in files {
        write(file).with_context(|| format!("cannot write {}", file.path.display()))?;
    }
    bind_all(&binds)?;
    umount2(OLD_ROOT, MntFlags::MNT_DETACH)?;
    fs::remove_dir(OLD_ROOT)?;
    Ok(())
}

// === impl Layers ===

impl Layers {
    fn new(scratch: PathBuf) -> Result<Self> {
        mount(
            Some("tmpfs"),
            &scratch,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )
        .context("cannot mount the writable layer")?;
        let root = scratch.join("root");
        fs::create_dir(&root)?;
        mount(
            Some("tmpfs"),
            &root,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )?;
        Ok(Self { scratch, overlays: 0 })
    }

    fn show_root(&mut self) -> Result<()> {
        for entry in fs::read_dir("/")? {
            let source = entry?.path();
            let target = below(&self.scratch.join("root"), &source);
            let is = |list: &[&str]| list.iter().any(|path| source == Path::new(path));
            if is(&PRIVATE) {
                mount_tmpfs(&target)?;
            } else if is(&SHARED) {
                fs::create_dir(&target)?;
                show_as_it_is(&source, &target)?;
            } else {
                self.show(&source, &target, 0)?;
            }
        }
        // Envoy's hot restart shares memory by a name that is the same in every pod.
        mount_tmpfs(&self.scratch.join("root/dev/shm"))
    }

    /// Shows a file or folder so that writing to it stays in the pod.
    fn show(&mut self, source: &Path, target: &Path, depth: usize) -> Result<()> {
        let metadata = fs::symlink_metadata(source)?;
        if metadata.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(source)?, target)?;
        } else if !metadata.is_dir() {
            fs::write(target, "")?;
            // What cannot be shown (a socket of another user, say) is not needed either.
            let _ = show_as_it_is(source, target);
        } else {
            fs::create_dir(target)?;
            if self.overlay(source, target).is_err() {
                self.take_apart(source, target, depth)?;
            }
        }
        Ok(())
    }

    fn overlay(&mut self, source: &Path, target: &Path) -> Result<()> {
        self.overlays += 1;
        let layer = |kind: &str| self.scratch.join(format!("{kind}{}", self.overlays));
        let (upper, work) = (layer("upper"), layer("work"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        overlay(source, target, &upper, &work)
    }

    /// Shows the entries of a folder one by one.
    fn take_apart(&mut self, source: &Path, target: &Path, depth: usize) -> Result<()> {
        let entries = fs::read_dir(source);
        match entries {
            Ok(entries) if depth < MAX_DEPTH => {
                for entry in entries {
                    let entry = entry?;
                    self.show(&entry.path(), &target.join(entry.file_name()), depth + 1)?;
                }
            }
            // Unreadable for us, or too deep: then as it is, or not at all.
            _ => {
                let _ = show_as_it_is(source, target);
            }
        }
        Ok(())
    }
}

fn show_as_it_is(source: &Path, target: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot show {}", source.display()))
}

/// A path as the options of an overlay want it.
fn escape(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// Shows each source at its target, which is created if it is not there.
pub(super) fn bind_all(binds: &[Bind]) -> Result<()> {
    binds.iter().try_for_each(|each| {
        bind(each).with_context(|| {
            format!(
                "cannot mount {} at {}",
                each.source.display(),
                each.target.display()
            )
        })
    })
}

fn bind(bind: &Bind) -> Result<()> {
    let Bind {
        source,
        target,
        read_only,
    } = bind;
    if fs::metadata(source)?.is_dir() {
        create_folder(target)?;
    } else {
        create_folder(target.parent().unwrap_or(target))?;
        if !target.is_file() {
            // A link may lead to what the pod does not see.
            replace(target, "")?;
        }
    }
    show_as_it_is(source, target)?;
    if *read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, target, None::<&str>, flags, None::<&str>)?;
    }
    Ok(())
}

/// Creates a folder with everything above it.
///
/// Inside a user namespace, folders of the machine's users belong to nobody we may act for. An overlay makes the one
/// that is in the way ours.
fn create_folder(path: &Path) -> Result<()> {
    let existing = path
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"));
    if access(existing, AccessFlags::W_OK).is_err() {
        let layers = Path::new(LAYERS).join(format!("{}{}", std::process::id(), existing.display()));
        let [upper, work] = ["upper", "work"].map(|kind| layers.join(kind));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        overlay(existing, existing, &upper, &work)?;
    }
    Ok(fs::create_dir_all(path)?)
}

/// Shows `source` at `target` with a writable layer.
fn overlay(source: &Path, target: &Path, upper: &Path, work: &Path) -> Result<()> {
    // The top of an overlay has the permissions of its upper layer.
    fs::set_permissions(upper, fs::metadata(source)?.permissions())?;
    let [lower, upper, work] = [source, upper, work].map(escape);
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    Ok(mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )?)
}

fn mount_tmpfs(target: &Path) -> Result<()> {
    fs::create_dir_all(target)?;
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=1777"),
    )
    .with_context(|| format!("cannot mount {}", target.display()))
}

fn write(file: &FileSpec) -> Result<()> {
    create_folder(file.path.parent().unwrap_or(Path::new("/")))?;
    // Container engines mount this very file; what is mounted cannot be replaced.
    let _ = umount2(&file.path, MntFlags::MNT_DETACH);
    Ok(replace(&file.path, &file.content)?)
}

/// Puts a new file in the place of whatever is there. The old one may be a link, or somebody else's.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".mesh-new");
    fs::write(&new, content)?;
    fs::rename(&new, path)
}

/// `path`, which is absolute, below another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_meaning_in_mount_options() {
        assert_eq!(escape(Path::new("/a,b:c\\d")), "/a\\,b\\:c\\\\d");
        assert_eq!(
            below(Path::new("/x"), Path::new("/etc/hosts")),
            Path::new("/x/etc/hosts")
        );
    }
}
