//! What the AWS adapter makes of a KMS that refuses, hangs or is not there, through the AWS SDK.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::{Duration, Instant};

use strongroom_core::SecretName;
use strongroom_seal::{Binding, ContextStyle, Kms, KmsError};
use strongroom_server::kms::aws::{AwsKms, AwsSettings, ConnectError};
use strongroom_tests::moto::{
    REGION,
    child::{KEY, environment, is_child, run, run_child, told},
    free_address,
    stub::Stub,
};

fn settings(key_id: &str, max_retries: u32) -> AwsSettings {
    AwsSettings {
        key_id: key_id.to_owned(),
        max_retries,
        context_style: ContextStyle::Name,
    }
}

async fn adapter(max_retries: u32) -> AwsKms {
    AwsKms::connect(settings(&told(KEY), max_retries))
        .await
        .unwrap()
}

fn binding(name: &str, version: u64) -> Binding {
    Binding::new(&SecretName::parse(name).unwrap(), version)
}

/// moto lets disabled keys work and never throttles: what AWS answers comes from a stub.
#[test]
fn errors_of_the_service_are_told_apart() {
    const CASES: [(u16, &str, &str, usize); 6] = [
        (400, "AccessDeniedException", "Denied", 1),
        (400, "DisabledException", "KeyDisabled", 1),
        (400, "KMSInvalidStateException", "KeyDisabled", 1),
        (400, "ThrottlingException", "Throttled", 2),
        (500, "KMSInternalException", "Unavailable", 2),
        (400, "UnsupportedOperationException", "Unsupported", 1),
    ];
    if !is_child() {
        for (status, code, kind, requests) in CASES {
            let stub = Stub::error(status, code);
            let endpoint = stub.endpoint();
            let mut all = environment(&endpoint, "key");
            all.push(("STRONGROOM_KMS_TEST_EXPECT", kind));
            run_child("errors_of_the_service_are_told_apart", &all);
            assert_eq!(stub.requests(), requests, "{code} with one retry");
        }
        return;
    }
    run(async {
        let error = adapter(1)
            .await
            .generate(&binding("secret/a", 1))
            .await
            .err()
            .unwrap();
        let kind = told("STRONGROOM_KMS_TEST_EXPECT");
        assert!(
            format!("{error:?}").starts_with(&kind),
            "{error:?} is not {kind}"
        );
        assert!(error.detail().contains("said the stub"), "{error}");
    });
}

#[test]
fn an_unreachable_endpoint_is_unavailable_within_the_deadline() {
    const NAME: &str = "an_unreachable_endpoint_is_unavailable_within_the_deadline";
    if !is_child() {
        return run_child(
            NAME,
            &environment(&format!("http://{}", free_address()), "key"),
        );
    }
    run(unavailable_in_time());
}

#[test]
fn a_hanging_endpoint_is_unavailable_within_the_deadline() {
    if !is_child() {
        let stub = Stub::hanging();
        let name = "a_hanging_endpoint_is_unavailable_within_the_deadline";
        run_child(name, &environment(&stub.endpoint(), "key"));
        assert!(stub.requests() >= 2, "it was tried again");
        return;
    }
    run(unavailable_in_time());
}

async fn unavailable_in_time() {
    let kms = adapter(5).await;
    let began = Instant::now();
    let error = kms.generate(&binding("secret/a", 1)).await.err().unwrap();
    assert!(matches!(error, KmsError::Unavailable(_)), "{error}");
    assert!(
        began.elapsed() < Duration::from_millis(8_500),
        "took {:?}",
        began.elapsed()
    );
}

#[test]
fn a_bare_environment_is_refused_in_one_line_and_in_time() {
    const NAME: &str = "a_bare_environment_is_refused_in_one_line_and_in_time";
    if !is_child() {
        // With instance metadata off, as this machine has it, and accepting without an answer.
        let stub = Stub::hanging();
        let hanging = stub.endpoint();
        let endpoint = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*hanging);
        let off = |value| ("AWS_EC2_METADATA_DISABLED", value);
        for metadata in [
            &[off("true")][..],
            &[off("false")],
            &[off("false"), endpoint],
        ] {
            run_child(NAME, &[metadata, &[(KEY, "no region")]].concat());
            let keyless = [(KEY, "no credentials"), ("AWS_REGION", REGION)];
            run_child(NAME, &[metadata, &keyless].concat());
        }
        assert!(stub.requests() > 0, "the stub was asked for metadata");
        return;
    }
    run(async {
        let began = Instant::now();
        let missing = told(KEY);
        let error = AwsKms::connect(settings("key", 5)).await.err().unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(7),
            "took {:?}",
            began.elapsed()
        );
        match &*missing {
            "no region" => assert_eq!(error, ConnectError::NoRegion),
            _ => assert!(matches!(error, ConnectError::NoCredentials(_)), "{error}"),
        }
        assert!(!error.to_string().contains('\n'));
        println!("{error}");
    });
}
