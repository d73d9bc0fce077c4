//! An adapter whose name has several addresses (`spec 02` §10.3).

use std::fs;

use mesh_testing::eventually;

use super::machine::{Machine, PATIENCE};

const OBJECTS: &str = r#"
apiVersion: config.istio.io/v1alpha2
kind: attributemanifest
metadata: {name: all, namespace: istio-system}
spec: {attributes: {request.path: {valueType: STRING}}}
---
apiVersion: config.istio.io/v1alpha2
kind: handler
metadata: {name: print, namespace: istio-system}
spec:
  adapter: mygrpcprint
  connection: {address: "adapters.test:9072"}
  params: {file_path: printed.txt}
---
apiVersion: config.istio.io/v1alpha2
kind: instance
metadata: {name: one, namespace: istio-system}
spec: {template: metric, params: {value: "1", dimensions: {path: request.path | ""}}}
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: print, namespace: istio-system}
spec: {actions: [{handler: print, instances: [one]}]}
"#;

/// How many lines the processes of the first and the second address have written about a path.
fn lines(machine: &Machine, path: &str) -> (usize, usize) {
    let of = |name: &str| {
        let text = fs::read_to_string(machine.home().join(name).join("printed.txt")).unwrap_or_default();
        let end = format!("path={path}");
        text.lines().filter(|line| line.ends_with(&end)).count()
    };
    (of("first"), of("second"))
}

/// Reports twenty times, about a path that nobody has reported about, until the processes have written as much as is wanted.
async fn report(machine: &Machine, about: &str, wanted: impl Fn((usize, usize)) -> bool) {
    let mut number = 0;
    eventually(PATIENCE, async || {
        number += 1;
        let path = format!("/{about}/{number}");
        machine.run(&format!("mixc report --repeat 20 -s request.path={path}"))?;
        match lines(machine, &path) {
            found if wanted(found) => Ok(()),
            found => Err(format!("{about}: {found:?}")),
        }
    })
    .await
    .unwrap();
}

fn begin(machine: &mut Machine, name: &str, address: &str) {
    machine.folder = machine.home().join(name);
    machine.begin(name, &format!("mygrpcprint --address {address}"));
    machine.folder = machine.home().to_owned();
}

/// Calls go to all addresses in turn, with a session of each; when one dies, to the other; when it is back, to both again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spec_02_10_3_when_an_address_dies_calls_go_to_the_others() {
    let mut machine = Machine::start().await;
    for folder in ["config", "first", "second"] {
        fs::create_dir(machine.home().join(folder)).unwrap();
    }
    fs::write(machine.home().join("config/objects.yaml"), OBJECTS).unwrap();
    machine
        .run(
            "mixgen adapter -c $ISTIO_RS/mixer/samples/mygrpcprint/proto/config.proto -n mygrpcprint -t metric \
             -o config/adapter.yaml",
        )
        .unwrap();
    let listening = ["…listening…".to_owned()];
    begin(&mut machine, "first", "127.0.0.2:9072");
    begin(&mut machine, "second", "127.0.0.3:9072");
    machine.wait("first", &listening).await;
    machine.wait("second", &listening).await;
    machine.begin("mixer", "mixs server --configStoreURL=fs://$PWD/config");

    report(&machine, "both", |found| found == (10, 10)).await;
    machine.kill("second");
    report(&machine, "one", |found| found == (20, 0)).await;
    begin(&mut machine, "second", "127.0.0.3:9072");
    report(&machine, "again", |found| found == (10, 10)).await;
}
