//! `cargo mesh status`

use std::process::ExitCode;

use anyhow::Result;

use super::{say, state};
use crate::mesh::layout::Layout;
use crate::mesh::state::{PodState, State};

pub(super) fn run(layout: &Layout) -> Result<ExitCode> {
    let state = state(layout)?;
    say(&render(&state));
    Ok(if state.ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn render(state: &State) -> String {
    let mut rows = vec![["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "IP", ""].map(str::to_owned)];
    rows.extend(state.pods.iter().map(row));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.insert(0, String::new());
    let ingress = state.ingress.http.as_deref().unwrap_or("none");
    lines.insert(
        0,
        format!(
            "{}, ingress: {ingress}",
            if state.ready { "ready" } else { "not ready" }
        ),
    );
    if !state.problems.is_empty() {
        lines.push(String::new());
        lines.extend(state.problems.iter().map(|problem| format!("problem: {problem}")));
    }
    lines.join("\n")
}

fn row(pod: &PodState) -> [String; 7] {
    let ready = pod.containers.iter().filter(|container| container.ready).count();
    let restarts: u32 = pod.containers.iter().map(|container| container.restarts).sum();
    let replaced = match pod.replaced {
        0 => String::new(),
        times => format!(", replaced {times}"),
    };
    [
        pod.namespace.clone(),
        pod.name.clone(),
        format!("{ready}/{}", pod.containers.len()),
        pod.phase.clone(),
        format!("{restarts}{replaced}"),
        pod.ip.to_string(),
        pod.message.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_failed_and_replaced_pod_is_told_apart() {
        let pod = PodState {
            name: "a-0".to_owned(),
            namespace: "weather".to_owned(),
            labels: BTreeMap::new(),
            ip: Ipv4Addr::new(10, 44, 0, 7),
            netns: None,
            pid: None,
            admin: None,
            log: PathBuf::new(),
            phase: "Running".to_owned(),
            ready: false,
            message: "container istio-proxy ended with signal 9".to_owned(),
            replaced: 1,
            containers: Vec::new(),
        };
        let state = State {
            pods: vec![pod],
            problems: vec!["x.yaml:1: bad".to_owned()],
            ..State::default()
        };
        let text = render(&state);
        assert!(
            text.starts_with("not ready, ingress: none\n\nNAMESPACE  NAME  READY"),
            "{text}"
        );
        let line = "weather    a-0   0/0    Running  0, replaced 1  10.44.0.7  container istio-proxy ended with signal 9";
        assert!(text.contains(line), "{text}");
        assert!(text.ends_with("problem: x.yaml:1: bad"), "{text}");
    }
}
