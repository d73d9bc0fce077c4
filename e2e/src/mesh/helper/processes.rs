//! Who is whose child.

use std::fs;
use std::path::Path;

/// The first child of a process: for the first process of a container, its command.
pub(crate) fn first_child(parent: i32) -> Option<i32> {
    match fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        Ok(text) => text.split_whitespace().next()?.parse().ok(),
        // The list is an option of the kernel.
        Err(_) => search(Path::new("/proc"), parent),
    }
}

fn search(proc: &Path, parent: i32) -> Option<i32> {
    let processes = fs::read_dir(proc).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name of the program stands in parentheses and may hold anything.
        let ppid: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (ppid == parent).then_some(pid)
    });
    processes.min()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_found_with_and_without_the_kernels_list() {
        // A shell that waits has one child, and it is not a child of this process.
        let mut shell = Command::new("sh").args(["-c", "sleep 60; true"]).spawn().unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let found = loop {
            if let Some(child) = first_child(pid) {
                break child;
            }
        };
        assert_eq!(search(Path::new("/proc"), pid), Some(found));
        let sleep = nix::unistd::Pid::from_raw(found);
        nix::sys::signal::kill(sleep, nix::sys::signal::Signal::SIGKILL).unwrap();
        shell.wait().unwrap();
        assert_eq!(first_child(pid), None);
    }
}
