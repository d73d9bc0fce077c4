//! Certificates that are replaced, and those that cannot be used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_testing::certificates::{Authority, Pair};
use mesh_testing::eventually;

use super::site::{PATIENCE, Site, display, good, shared};

/// The certificate that a new connection is shown.
async fn shown(site: &Site, authority: &str) -> Vec<u8> {
    let stream = site.connect(authority).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}

/// Waits until new connections are shown another certificate.
async fn another_is_shown(site: &Site, before: &[u8]) {
    eventually(PATIENCE, async || {
        if shown(site, site.authority.certificate()).await == before {
            Err("as before")
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn g8_2_a_new_certificate_is_taken_while_kubectl_goes_on() {
    let site = Site::new(shared().await).await;
    let galley = site.serving().await;
    let authority = site.authority.certificate();
    let done = AtomicBool::new(false);
    let apply = async {
        let mut applied = 0;
        while !done.load(Ordering::Relaxed) {
            site.done("apply -f -", &good(&format!("forecast-{}", applied % 5)))
                .await;
            applied += 1;
        }
        applied
    };
    let rotate = async {
        for _ in 0..4 {
            let before = shown(&site, authority).await;
            site.write_pair(&site.issue());
            another_is_shown(&site, &before).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let (applied, ()) = tokio::join!(apply, rotate);
    assert!(applied > 0);
    assert_eq!(galley.metric("galley_validation_cert_key_updates").await, 5.0);
}

#[tokio::test]
async fn g8_2_a_broken_certificate_leaves_the_former_in_use() {
    let site = Site::new(shared().await).await;
    let first = site.issue();
    site.write_pair(&first);
    let mut galley = site.serving().await;
    let authority = site.authority.certificate();
    let before = shown(&site, authority).await;
    let changed = |certificate: &str, key: &str| Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let cases = [
        (changed("garbage", &first.key), "holds no certificate"),
        (
            changed(&first.certificate, &site.issue().key),
            "does not go together with",
        ),
        (site.authority.issue_expired(&[&*site.host()]).unwrap(), "expired"),
    ];
    for (pair, reason) in cases {
        let errors = galley.metric("galley_validation_cert_key_update_errors").await;
        site.write_pair(&pair);
        let line = galley.says(reason).await;
        let text = line["error"].as_str().unwrap();
        assert!(text.contains(&display(&site.path("cert-chain.pem"))), "{text}");
        assert_eq!(line["kept"], true);
        assert!(galley.metric("galley_validation_cert_key_update_errors").await > errors);
        assert_eq!(shown(&site, authority).await, before);
        site.refused_eventually().await;
        site.write_pair(&first);
    }
    site.write_pair(&site.issue());
    another_is_shown(&site, &before).await;
    site.refused_eventually().await;
}

/// It goes on to be shown, so that whoever calls says what is wrong; Galley is not ready, and so is noticed; a new one is all
/// that is needed.
#[tokio::test]
async fn g8_2_a_certificate_that_expires_in_use_is_noticed_and_can_be_replaced() {
    let site = Site::new(shared().await).await;
    let galley = site.serving().await;
    let authority = site.authority.certificate();
    let before = shown(&site, authority).await;
    let mut lifetime = Duration::from_secs(10);
    loop {
        let pair = site.authority.issue_for(&[&*site.host()], lifetime).unwrap();
        let errors = galley.metric("galley_validation_cert_key_update_errors").await;
        site.write_pair(&pair);
        let taken = eventually(PATIENCE, async || match site.connect(authority).await {
            Ok(stream) if stream.get_ref().1.peer_certificates().unwrap()[0].to_vec() == before => {
                // It may have expired before it was looked at, on a machine that is busy.
                let now = galley.metric("galley_validation_cert_key_update_errors").await;
                if now > errors { Ok(false) } else { Err("as before") }
            }
            _ => Ok(true),
        });
        if taken.await.unwrap() {
            break;
        }
        lifetime *= 2;
    }
    let port = site.port;
    galley
        .pending(&[&format!("validation: https://127.0.0.1:{port}/ready")])
        .await;
    let refused = site.connect(authority).await.unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("expired"), "{refused}");

    site.write_pair(&site.issue());
    galley.ready().await;
    site.refused_eventually().await;
}

#[tokio::test]
async fn g8_6_new_authorities_reach_the_api_server() {
    let site = Site::new(shared().await).await;
    let galley = site.serving().await;
    let next = Authority::new("next").unwrap();
    // First both are trusted, then the certificate changes, then the old one goes.
    let both = format!("{}{}", site.authority.certificate(), next.certificate());
    let bundle = async || site.registered().await["webhooks"][0]["clientConfig"]["caBundle"].clone();
    let mut before = bundle().await;
    for (authorities, pair) in [
        (both, None),
        (
            next.certificate().to_owned(),
            Some(next.issue(&[&*site.host()]).unwrap()),
        ),
    ] {
        if let Some(pair) = pair {
            site.write_pair(&pair);
        }
        site.write("root-cert.pem", &authorities);
        eventually(PATIENCE, async || match bundle().await {
            now if now == before => Err("as before"),
            _ => Ok(()),
        })
        .await
        .unwrap();
        before = bundle().await;
        site.refused_eventually().await;
    }
    shown(&site, next.certificate()).await;
    galley.ready().await;
}
