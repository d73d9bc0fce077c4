//! A container: the sandbox's namespaces, its own mounts and its own process namespace.
//!
//! The process namespace is what makes a container one thing: when its first process ends, or this one does, the
//! kernel ends all the others. An Envoy cannot outlive its agent.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::Command;

use super::namespaces::{IPC, MOUNT, NET, UTS, join};
use super::protocol::{ContainerSpec, Exit, ProcessSpec, Report};
use super::{mounts, read_spec, report};

pub(super) fn run() -> Result<ExitCode> {
    let spec: ContainerSpec = read_spec()?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)
        .with_context(|| format!("cannot open {}", spec.log.display()))?;
    // A process that is not root may open its own /dev/stdout by name, as Envoy's access log does.
    log.set_permissions(Permissions::from_mode(0o666))?;

    join(spec.sandbox, &[NET, UTS, IPC, MOUNT])?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).context("cannot create namespaces")?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;
    mounts::bind_all(&spec.mounts)?;

    // A process that has unshared its process namespace cannot start threads, so all waiting is done by one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Some(status) = runtime.block_on(run_init(&spec.process, log))? {
        report(&Report::Exited(match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        }));
    }
    Ok(ExitCode::SUCCESS)
}

/// How the container's first process ended; `None` when the mesh went first. That process then follows this one.
async fn run_init(process: &ProcessSpec, log: File) -> Result<Option<ExitStatus>> {
    let mut init = Command::new("/proc/self/exe")
        .arg0("mesh-pod")
        .arg("init")
        .env_clear()
        .envs(process.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::inherit())
        .stderr(log)
        .spawn()
        .context("cannot start the container's first process")?;
    if let Some(pid) = init.id() {
        report(&Report::Init(i32::try_from(pid)?));
    }
    if let Some(mut stdin) = init.stdin.take() {
        stdin
            .write_all(format!("{}\n", serde_json::to_string(process)?).as_bytes())
            .await?;
    }
    tokio::select! {
        status = init.wait() => Ok(Some(status?)),
        gone = the_mesh_to_go() => gone.map(|()| None),
    }
}

async fn the_mesh_to_go() -> Result<()> {
    let mut stdin = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut rest = [0; 64];
    while matches!(stdin.read(&mut rest).await, Ok(1..)) {}
    Ok(())
}
