//! What commands weigh.

use super::*;
use crate::{Attempt, Proposal, RequestId};

pub(super) fn check_weight(command: Command) {
    let weight = command.weight();
    let proposal = Proposal {
        time: LogTime(START),
        commands: vec![command],
        // As long as they get.
        attempts: vec![Some(Attempt {
            request: RequestId([0xff; 16]),
            since: u64::MAX,
        })],
    };
    let bytes = codec::encode_proposal(&proposal).len();
    assert!(bytes <= weight, "{bytes} bytes weigh {weight}");
}

#[test]
fn the_largest_commands_weigh_what_they_are() {
    use crate::{Action, Capability, PathPattern, Permission, Rule};
    let path = || PathPattern::parse(&"p".repeat(limits::SECRET_PATH_BYTES)).unwrap();
    let permissions = || {
        vec![
            Permission {
                action: Action::Any,
                path: path()
            };
            limits::ROLE_RULES
        ]
    };
    let rules = || {
        let capabilities = vec![Capability::Read; 7];
        vec![
            Rule {
                path: path(),
                capabilities,
                deny: true
            };
            limits::ROLE_RULES
        ]
    };
    let long = format!("secret/{}", "n".repeat(limits::SECRET_PATH_BYTES));
    let settings = SecretSettings {
        description: "d".repeat(limits::DESCRIPTION_BYTES),
        custom_metadata: (0..limits::CUSTOM_METADATA_PAIRS)
            .map(|n| {
                (
                    format!("{n:0128}"),
                    "v".repeat(limits::CUSTOM_METADATA_VALUE_BYTES),
                )
            })
            .collect(),
        ..automatic(1)
    };
    let change = SettingsChange {
        description: Some(settings.description.clone()),
        custom_metadata: Some(settings.custom_metadata.clone()),
        ..SettingsChange::default()
    };
    let versions = || vec![u64::MAX; limits::VERSIONS_PER_COMMAND];
    let material = || Some("m".repeat(limits::LABEL_BYTES).into());
    let wrapped = || WrappedDek(vec![0xff; limits::WRAPPED_DEK_BYTES].into());
    let key = || KmsKeyId("k".repeat(limits::KMS_KEY_ID_BYTES).into());
    let target = Watermark {
        key_id: key(),
        rotation_at: Some(LogTime(u64::MAX)),
        material_id: material(),
    };
    let mut heaviest = sealed(1);
    heaviest.wrapped_dek = wrapped();
    heaviest.kms_key_id = key();
    heaviest.material_id = material();
    let cidrs = vec!["2001:db8::/32".parse().unwrap(); limits::BOUND_CIDRS];
    for command in [
        create(&long, settings, Some(1)),
        tune(&long, change),
        Command::DeleteVersions {
            name: secret(&long),
            versions: versions(),
        },
        Command::UndeleteVersions {
            name: secret(&long),
            versions: versions(),
        },
        Command::DestroyVersions {
            name: secret(&long),
            versions: versions(),
        },
        Command::CreateRole {
            name: role("r"),
            description: "d".repeat(limits::DESCRIPTION_BYTES),
            is_admin: false,
            permissions: permissions(),
            rules: vec![],
        },
        Command::SetPermissions {
            name: role("r"),
            permissions: permissions(),
        },
        Command::SetRules {
            name: role("r"),
            rules: rules(),
        },
        Command::CreateToken {
            name: token("t"),
            fingerprint: print(1),
            role: role("r"),
            ttl_secs: Some(u64::MAX),
            bound_cidrs: Allowlist::from(cidrs),
            num_uses: Some(u64::MAX),
        },
        put_sealed(&long, u64::MAX, Some(u64::MAX), heaviest),
        Command::AdoptWatermark {
            watermark: target.clone(),
        },
        Command::BeginPass { target },
        Command::RewrapVersion {
            name: secret(&long),
            version: u64::MAX,
            pass: u64::MAX,
            replaces: wrapped(),
            wrapped: wrapped(),
            kms_key_id: key(),
            material_id: material(),
        },
        Command::EndPass {
            id: u64::MAX,
            failed: u64::MAX,
            last_error: Some("é".repeat(limits::DESCRIPTION_BYTES)),
        },
    ] {
        check_weight(command);
    }
}
