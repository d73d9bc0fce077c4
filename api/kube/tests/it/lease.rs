//! One leads.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use mesh_kube::{Election, Leadership, LeaseParams};
use mesh_testing::kube::ApiServer;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{Link, PATIENCE};

/// A replica that runs for the lease.
struct Replica {
    leadership: Leadership,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(client: Client, namespace: &str, identity: &str) -> Self {
        let params = LeaseParams {
            duration: Duration::from_secs(4),
            renew_deadline: Duration::from_secs(2),
            retry_period: Duration::from_millis(400),
            ..LeaseParams::new(namespace, "istio-galley", identity)
        };
        let election = Election::new(client, params);
        let leadership = election.leadership();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(election.run(async { drop(stopped.await) }));
        Self {
            leadership,
            stop: Some(stop),
            task,
        }
    }

    async fn gained(&mut self) {
        timeout(PATIENCE, self.leadership.gained()).await.unwrap();
    }
}

async fn holder(leases: &Api<Lease>) -> (String, i32) {
    let spec = leases.get("istio-galley").await.unwrap().spec.unwrap();
    (
        spec.holder_identity.unwrap_or_default(),
        spec.lease_transitions.unwrap_or_default(),
    )
}

#[tokio::test]
async fn p5_5_leadership_is_handed_over_taken_over_and_lost() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("lease").await.unwrap();
    let client = server.client().await.unwrap();
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let link = Link::to(server.port()).await;
    let linked = server.admin().at(&link.url()).unwrap().client().await.unwrap();

    let mut first = Replica::start(client.clone(), &namespace, "first");
    first.gained().await;
    let mut second = Replica::start(linked, &namespace, "second");
    assert_eq!(holder(&leases).await, ("first".to_owned(), 0));
    assert!(!second.leadership.leads());

    // Handed over: long before the lease runs out.
    first.stop.take().unwrap().send(()).unwrap();
    first.task.await.unwrap();
    assert!(!first.leadership.leads());
    second.gained().await;
    assert_eq!(holder(&leases).await, ("second".to_owned(), 1));

    // Lost: who cannot reach the server steps down before anybody else may lead.
    let mut third = Replica::start(client.clone(), &namespace, "third");
    link.cut();
    tokio::select! {
        () = second.leadership.lost() => {}
        () = third.leadership.gained() => panic!("two lead"),
    }
    third.gained().await;
    assert!(!second.leadership.leads());
    assert_eq!(holder(&leases).await, ("third".to_owned(), 2));
    link.mend();

    // Taken over from one that died.
    third.task.abort();
    second.gained().await;
    assert!(!third.leadership.leads());
    assert_eq!(holder(&leases).await, ("second".to_owned(), 3));
}
