//! A pod's view of the file system: the machine's, with a writable layer that goes away with the pod.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::protocol::{Bind, FileSpec};

/// Folders that every pod has for itself, empty.
const PRIVATE: [&str; 2] = ["/run", "/tmp"];

/// Where the machine's root hangs while the pod's root is being prepared.
const OLD_ROOT: &str = "/.old-root";

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
    mount(
        Some("tmpfs"),
        &scratch,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )
    .context("cannot mount the writable layer")?;
    chdir(&scratch)?;
    for folder in ["upper", "work", "root"] {
        fs::create_dir(folder)?;
    }
    mount_overlay()?;
    for mountpoint in submounts(&fs::read_to_string("/proc/self/mountinfo")?, &scratch) {
        let recursive = if scratch.starts_with(&mountpoint) {
            MsFlags::empty()
        } else {
            MsFlags::MS_REC
        };
        let target = below(&scratch.join("root"), &mountpoint);
        // What cannot be shown (an automount that is gone, a folder of another user) is not needed either.
        let _ = mount(
            Some(&mountpoint),
            &target,
            None::<&str>,
            MsFlags::MS_BIND | recursive,
            None::<&str>,
        );
    }
    for folder in PRIVATE {
        mount_tmpfs(&below(&scratch.join("root"), Path::new(folder)))?;
    }
    // Envoy's hot restart shares memory by a name that is the same in every pod.
    mount_tmpfs(&scratch.join("root/dev/shm"))?;

    fs::create_dir_all(below(Path::new("root"), Path::new(OLD_ROOT)))?;
    pivot_root("root", below(Path::new("root"), Path::new(OLD_ROOT)).as_path())
        .context("cannot change the root")?;
    chdir("/")?;
    for file in files {
        write(file).with_context(|| format!("cannot write {}", file.path.display()))?;
    }
    bind_all(&binds)?;
    umount2(OLD_ROOT, MntFlags::MNT_DETACH)?;
    fs::remove_dir(OLD_ROOT)?;
    Ok(())
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
        fs::create_dir_all(target)?;
    } else {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        replace_link(target)?;
        fs::OpenOptions::new().create(true).append(true).open(target)?;
    }
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?;
    if *read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, target, None::<&str>, flags, None::<&str>)?;
    }
    Ok(())
}

fn mount_overlay() -> Result<()> {
    let layers = "lowerdir=/,upperdir=upper,workdir=work";
    let mount_with = |options: &str| {
        mount(
            Some("overlay"),
            "root",
            Some("overlay"),
            MsFlags::empty(),
            Some(options),
        )
    };
    // Inside a user namespace some kernels want to be told where to keep their notes.
    mount_with(layers)
        .or_else(|_| mount_with(&format!("{layers},userxattr")))
        .context("cannot mount an overlay of the root file system")
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

fn write(file: &FileSpec) -> io::Result<()> {
    if let Some(parent) = file.path.parent() {
        fs::create_dir_all(parent)?;
    }
    // `/etc/resolv.conf` is often a link into a folder that the pod does not see.
    replace_link(&file.path)?;
    fs::write(&file.path, &file.content)
}

fn replace_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// `path`, which is absolute, below another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The mount points that are not inside one another and that a pod shares with the machine, in order.
fn submounts(mountinfo: &str, scratch: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|path| path != Path::new("/") && !path.starts_with(scratch))
        .filter(|path| !PRIVATE.iter().any(|private| path.starts_with(private)))
        .collect();
    paths.sort();
    let mut outermost: Vec<PathBuf> = Vec::new();
    for path in paths {
        if outermost.last().is_none_or(|last| !path.starts_with(last)) {
            outermost.push(path);
        }
    }
    outermost
}

/// Undoes the kernel's `\040` for characters that would break its table.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_outermost_shared_mounts_are_shown() {
        let table = "\
22 1 8:1 / / rw - ext4 /dev/sda rw
23 22 0:5 / /proc rw - proc proc rw
24 23 0:6 / /proc/sys/fs/binfmt_misc rw - x x rw
25 22 0:7 / /run rw - tmpfs tmpfs rw
26 25 0:7 / /run/user/1000 rw - tmpfs tmpfs rw
27 22 0:8 / /home/my\\040files rw - ext4 /dev/sdb rw
28 22 0:9 / /tmp rw - tmpfs tmpfs rw
29 22 0:9 / /work/scratch rw - tmpfs tmpfs rw
30 22 0:9 / /work/scratch/root rw - overlay overlay rw
";
        let paths = submounts(table, Path::new("/work/scratch"));
        assert_eq!(paths, [Path::new("/home/my files"), Path::new("/proc")]);
    }

    #[test]
    fn a_backslash_that_is_no_escape_stays() {
        assert_eq!(unescape("/a\\b\\134c\\"), Path::new("/a\\b\\c\\"));
    }
}
