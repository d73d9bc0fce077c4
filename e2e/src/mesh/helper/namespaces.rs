//! Joining the namespaces of another process.

use std::fs::{self, File};
use std::io;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

/// A kind of namespace: its file under `/proc/PID/ns` and its flag.
pub(super) type Kind = (&'static str, CloneFlags);

pub(super) const USER: Kind = ("user", CloneFlags::CLONE_NEWUSER);
pub(super) const NET: Kind = ("net", CloneFlags::CLONE_NEWNET);
pub(super) const UTS: Kind = ("uts", CloneFlags::CLONE_NEWUTS);
pub(super) const IPC: Kind = ("ipc", CloneFlags::CLONE_NEWIPC);
pub(super) const PID: Kind = ("pid", CloneFlags::CLONE_NEWPID);
pub(super) const MOUNT: Kind = ("mnt", CloneFlags::CLONE_NEWNS);

/// Joins namespaces of process `pid`, in the order given. Those that are ours already are left alone.
///
/// The mount namespace belongs last: `/proc` is another one afterwards.
pub(super) fn join(pid: i32, kinds: &[Kind]) -> Result<()> {
    let mut files = Vec::new();
    for (name, flag) in kinds {
        let path = format!("/proc/{pid}/ns/{name}");
        let theirs = fs::read_link(&path).with_context(|| format!("process {pid} is gone"))?;
        if fs::read_link(format!("/proc/self/ns/{name}"))? != theirs {
            files.push((File::open(&path)?, *flag, *name));
        }
    }
    for (file, flag, name) in files {
        setns(&file, flag).with_context(|| format!("cannot join the {name} namespace of process {pid}"))?;
    }
    Ok(())
}

/// Our own network namespace, to come back to.
pub(super) fn own_network() -> io::Result<File> {
    File::open("/proc/self/ns/net")
}
