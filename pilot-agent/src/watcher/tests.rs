//! Batches of certificate changes.

use std::time::Duration;

use mesh_testing::certificates::Authority;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Fingerprint, watch};
use crate::config::Certificates;

fn certificates(folder: &std::path::Path, delay: Duration) -> Certificates {
    let files = ["cert-chain.pem", "key.pem"]
        .map(|name| folder.join(name))
        .to_vec();
    Certificates {
        files,
        folders: Vec::new(),
        delay,
        required: Vec::new(),
    }
}

#[test]
fn agt_52_a_missing_file_adds_nothing_to_the_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificates(folder.path(), Duration::ZERO).files;
    let none = Fingerprint::of(&files);
    assert_eq!(none, Fingerprint::of(&[]));
    std::fs::write(&files[1], "key").unwrap();
    let one = Fingerprint::of(&files);
    assert_ne!(one, none);
    std::fs::write(&files[1], "other").unwrap();
    assert_ne!(Fingerprint::of(&files), one);
}

#[tokio::test]
async fn agt_51_one_fingerprint_at_the_start_and_one_for_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = certificates(&folder.path().join("not-yet"), Duration::from_millis(300));
    let files = certificates.files.clone();
    let (sender, mut fingerprints) = mpsc::channel(1);
    let watching = watch(certificates, sender);
    let checks = async {
        let mut next = async || {
            timeout(Duration::from_secs(10), fingerprints.recv())
                .await
                .unwrap()
                .unwrap()
        };
        assert_eq!(next().await, Fingerprint::of(&files));
        std::fs::create_dir(folder.path().join("not-yet")).unwrap();
        for text in ["a", "b", "c"] {
            std::fs::write(&files[0], text).unwrap();
            std::fs::write(&files[1], text).unwrap();
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        assert_eq!(next().await, Fingerprint::of(&files), "the batch");
        std::fs::write(&files[0], "d").unwrap();
        let mut seen = next().await;
        // Late events of the batch may cause one more fingerprint, equal to the last.
        while seen != Fingerprint::of(&files) {
            seen = next().await;
        }
    };
    tokio::select! {
        ended = watching => panic!("{ended:?}"),
        () = checks => {}
    }
}

#[tokio::test]
async fn agt_54_required_certificates_are_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut certificates = certificates(folder.path(), Duration::ZERO);
    certificates.required = certificates.files.clone();
    let files = certificates.files.clone();
    let (sender, mut fingerprints) = mpsc::channel(1);
    let checks = async {
        std::fs::write(&files[0], "certificate").unwrap();
        assert!(
            timeout(Duration::from_millis(200), fingerprints.recv())
                .await
                .is_err()
        );
        std::fs::write(&files[1], "key").unwrap();
        let first = timeout(Duration::from_secs(10), fingerprints.recv())
            .await
            .unwrap();
        assert_eq!(first, Some(Fingerprint::of(&files)));
    };
    tokio::select! {
        ended = watch(certificates, sender) => panic!("{ended:?}"),
        () = checks => {}
    }
}

#[test]
fn agt_53_what_kubelet_keeps_beside_mounted_files_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let folders = [folder.path().join("missing"), folder.path().to_owned()];
    std::fs::create_dir(folder.path().join("..g1")).unwrap();
    for name in ["tls.key", "tls.crt"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let found = super::mounted_files(&folders);
    assert_eq!(found, ["tls.crt", "tls.key"].map(|name| folder.path().join(name)));
}

#[tokio::test]
async fn a_key_of_another_certificate_is_passed_over_until_its_own_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("test").unwrap();
    let (old, new) = (
        authority.issue(&["old.example.com"]).unwrap(),
        authority.issue(&["new.example.com"]).unwrap(),
    );
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("tls.crt", &old.certificate);
    write("tls.key", &old.key);
    let certificates = Certificates {
        files: Vec::new(),
        folders: vec![folder.path().to_owned()],
        delay: Duration::from_millis(50),
        required: Vec::new(),
    };
    let now = || Fingerprint::of(&super::mounted_files(&[folder.path().to_owned()]));
    let (sender, mut fingerprints) = mpsc::channel(1);
    let watching = watch(certificates, sender);
    let checks = async {
        let mut next = async || {
            timeout(Duration::from_secs(10), fingerprints.recv())
                .await
                .unwrap()
                .unwrap()
        };
        assert_eq!(next().await, now());
        write("tls.crt", &new.certificate);
        let torn = now();
        tokio::time::sleep(Duration::from_millis(500)).await;
        write("tls.key", &new.key);
        let seen = next().await;
        assert_ne!(seen, torn);
        assert_eq!(seen, now());
    };
    tokio::select! {
        () = checks => (),
        ended = watching => panic!("{ended:?}"),
    }
}
