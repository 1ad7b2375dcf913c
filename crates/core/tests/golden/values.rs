//! One value at least per variant of everything that is stored or sent; see `variants.rs`.
//!
//! Files that exist are never rewritten: what a release has written is decoded for ever.

use bytes::Bytes;
use strongroom_core::{
    Allowlist, Applied, ClusterId, Command, Effect, Generator, Kind, KmsKeyId, LogTime, MountName,
    PathPattern, Permission, Rejection, RoleName, Rule, SealedVersion, SecretName, SecretSettings,
    SecretSummary, SharedText, TargetName, TokenFingerprint, TokenName, WrappedDek,
    command::{MountSettings, NewVersion},
    rewrap::Watermark,
    secret::SettingsChange,
};

use crate::variants::{all_actions, all_capabilities};

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

pub(crate) fn mount() -> MountName {
    MountName::parse("kv").unwrap()
}

pub(crate) fn role() -> RoleName {
    RoleName::parse("deploy").unwrap()
}

pub(crate) fn token() -> TokenName {
    TokenName::parse("ci@example").unwrap()
}

pub(crate) fn key() -> KmsKeyId {
    KmsKeyId("arn:aws:kms:eu-central-1:111122223333:key/k".into())
}

pub(crate) fn material(tag: u8) -> SharedText {
    format!("{tag:02x}").repeat(4).into()
}

/// Of the material 1 when `tag` is odd, and of one that KMS did not name otherwise.
pub(crate) fn sealed(tag: u8) -> SealedVersion {
    SealedVersion {
        ciphertext: Bytes::from(vec![tag; 20]),
        nonce: std::array::from_fn(|at| at as u8),
        wrapped_dek: WrappedDek(Bytes::from_static(&[0xde, 0xc0])),
        kms_key_id: key(),
        material_id: (tag % 2 == 1).then(|| material(1)),
    }
}

pub(crate) fn watermark(tag: u8) -> Watermark {
    Watermark {
        key_id: key(),
        rotation_at: Some(LogTime(1_767_323_045_678).plus_secs(tag.into())),
        material_id: Some(material(tag)),
    }
}

/// One of which nothing is known but the key.
pub(crate) fn bare_watermark() -> Watermark {
    Watermark {
        rotation_at: None,
        material_id: None,
        ..watermark(0)
    }
}

/// A rewrap by `pass` of what `sealed` was.
pub(crate) fn rewrap(text: &str, version: u64, pass: u64, by: Option<SharedText>) -> Command {
    Command::RewrapVersion {
        name: name(text),
        version,
        pass,
        replaces: sealed(1).wrapped_dek,
        wrapped: WrappedDek(Bytes::from_static(&[0xab, 0xcd, 0xef])),
        kms_key_id: key(),
        material_id: by,
    }
}

pub(crate) fn generator() -> Generator {
    Generator {
        field: "password".into(),
        length: 40,
        charset: "abcdef0123456789".into(),
    }
}

pub(crate) fn automatic() -> SecretSettings {
    SecretSettings {
        kind: Kind::Automatic {
            rotation_interval_secs: 86_400,
            generator: generator(),
            keep_superseded: false,
            target: None,
        },
        description: "the database".into(),
        grace_period_secs: 300,
        max_versions: 7,
        cas_required: false,
        delete_version_after_secs: 0,
        custom_metadata: [("owner".to_owned(), "team-db".to_owned())].into(),
    }
}

pub(crate) fn target() -> TargetName {
    TargetName::parse("orders").unwrap()
}

pub(crate) fn targeted() -> SecretSettings {
    let mut settings = automatic();
    if let Kind::Automatic { target: to, .. } = &mut settings.kind {
        *to = Some(target());
    }
    settings
}

pub(crate) fn full_change() -> SettingsChange {
    SettingsChange {
        description: Some("é".into()),
        grace_period_secs: Some(1),
        max_versions: Some(300),
        cas_required: Some(true),
        delete_version_after_secs: Some(70_000),
        custom_metadata: Some([("k".to_owned(), String::new())].into()),
        rotation_interval_secs: Some(2),
        generator: Some(generator()),
        keep_superseded: Some(true),
        target: None,
    }
}

pub(crate) fn mount_settings() -> MountSettings {
    MountSettings {
        max_versions: 5,
        cas_required: false,
        delete_version_after_secs: 3_600,
    }
}

pub(crate) fn permissions() -> Vec<Permission> {
    let path = |text| PathPattern::parse(text).unwrap();
    let one = |action| Permission {
        action,
        path: path("app/*"),
    };
    all_actions().into_iter().map(one).collect()
}

pub(crate) fn rules() -> Vec<Rule> {
    let path = |text| PathPattern::parse(text).unwrap();
    vec![
        Rule {
            path: path("kv/data/app/*"),
            capabilities: all_capabilities(),
            deny: false,
        },
        Rule {
            path: path("kv/data/app/root"),
            capabilities: vec![],
            deny: true,
        },
    ]
}

/// Values of each command, in the order of `variants::COMMANDS`.
pub(crate) fn commands() -> Vec<Command> {
    let fingerprint = TokenFingerprint(std::array::from_fn(|at| 255 - at as u8));
    let (secret, versions) = (|| name("secret/db/password"), || vec![1, 200, 70_000]);
    vec![
        Command::Form {
            cluster_id: ClusterId(std::array::from_fn(|at| at as u8)),
        },
        Command::Bootstrap { fingerprint },
        Command::Tick,
        Command::CreateMount {
            mount: mount(),
            settings: mount_settings(),
        },
        Command::TuneMount {
            mount: mount(),
            settings: MountSettings {
                cas_required: true,
                ..mount_settings()
            },
        },
        Command::DeleteMount { mount: mount() },
        Command::CreateSecret {
            name: secret(),
            settings: automatic(),
            sealed: Some(sealed(1)),
        },
        Command::CreateSecret {
            name: secret(),
            settings: targeted(),
            sealed: Some(sealed(1)),
        },
        Command::CreateSecret {
            name: name("kv/A.b_c-d~e@f+g=h:i,j"),
            settings: SecretSettings::manual(),
            sealed: None,
        },
        Command::PutSecret {
            name: secret(),
            cas: Some(0),
            change: full_change(),
            version: Some(NewVersion {
                number: 2,
                sealed: sealed(2),
            }),
            upsert: true,
        },
        Command::PutSecret {
            name: secret(),
            cas: None,
            change: SettingsChange {
                target: Some(Some(target())),
                ..SettingsChange::default()
            },
            version: None,
            upsert: false,
        },
        Command::PutSecret {
            name: secret(),
            cas: None,
            change: SettingsChange {
                target: Some(None),
                ..SettingsChange::default()
            },
            version: None,
            upsert: false,
        },
        Command::PutSecret {
            name: secret(),
            cas: None,
            change: SettingsChange::default(),
            version: None,
            upsert: false,
        },
        Command::DeleteSecret { name: secret() },
        Command::DeleteVersions {
            name: secret(),
            versions: vec![],
        },
        Command::UndeleteVersions {
            name: secret(),
            versions: versions(),
        },
        Command::DestroyVersions {
            name: secret(),
            versions: versions(),
        },
        Command::CreateRole {
            name: role(),
            description: "deploys".into(),
            is_admin: false,
            permissions: permissions(),
            rules: rules(),
        },
        Command::SetPermissions {
            name: role(),
            permissions: permissions(),
        },
        Command::SetRules {
            name: role(),
            rules: rules(),
        },
        Command::DeleteRole { name: role() },
        Command::CreateToken {
            name: token(),
            fingerprint,
            role: role(),
            ttl_secs: Some(3_600),
            bound_cidrs: Allowlist::parse("10.0.0.0/8,2001:db8::/32,192.0.2.1").unwrap(),
            num_uses: Some(3),
        },
        Command::CreateToken {
            name: token(),
            fingerprint,
            role: role(),
            ttl_secs: None,
            bound_cidrs: Allowlist::default(),
            num_uses: None,
        },
        Command::RevokeToken { name: token() },
        Command::UseToken { fingerprint },
        Command::AdoptWatermark {
            watermark: watermark(1),
        },
        Command::AdoptWatermark {
            watermark: bare_watermark(),
        },
        Command::BeginPass {
            target: watermark(2),
        },
        Command::BeginPass {
            target: bare_watermark(),
        },
        rewrap("secret/db/password", 300, 70_000, Some(material(2))),
        rewrap("kv/app", 1, 1, None),
        Command::EndPass {
            id: 70_000,
            failed: 300,
            last_error: Some("the key is disabled".into()),
        },
        Command::EndPass {
            id: 1,
            failed: 0,
            last_error: None,
        },
        Command::BeginRotation {
            name: secret(),
            cas: 300,
            version: NewVersion {
                number: 301,
                sealed: sealed(3),
            },
        },
        Command::MarkRotation {
            name: secret(),
            nonce: sealed(3).nonce,
            applying: true,
        },
        Command::MarkRotation {
            name: secret(),
            nonce: sealed(3).nonce,
            applying: false,
        },
        Command::EndRotation {
            name: secret(),
            nonce: sealed(3).nonce,
        },
        Command::RaiseFormat { to: 2 },
    ]
}

/// Values of each result, in the order of `variants::APPLIED`.
pub(crate) fn applied() -> Vec<Applied> {
    let time = LogTime(1_767_323_045_678);
    let automatic = SecretSummary {
        name: name("secret/db/password"),
        automatic: true,
        version: 300,
        description: "the database".into(),
        created_at: LogTime(0),
        updated_at: LogTime(u64::MAX),
        version_created_at: Some(time),
        rotation_interval_secs: Some(86_400),
        grace_period_secs: 300,
        next_rotation_at: Some(time.plus_secs(86_400)),
        target: None,
        rotation_pending: false,
    };
    let turning = SecretSummary {
        target: Some(target()),
        rotation_pending: true,
        ..automatic.clone()
    };
    let empty = SecretSummary {
        automatic: false,
        version: 0,
        version_created_at: None,
        rotation_interval_secs: None,
        next_rotation_at: None,
        ..automatic.clone()
    };
    let effects = [
        Effect::Done,
        Effect::Secret(automatic),
        Effect::Secret(empty),
        Effect::Secret(turning),
        Effect::Token {
            expires_at: Some(time),
        },
        Effect::Token { expires_at: None },
        Effect::Pass { id: 300 },
    ];
    let rejections = [
        Rejection::AlreadyExists,
        Rejection::NotFound,
        Rejection::CasMismatch { current: 300 },
        Rejection::CasRequired,
        Rejection::VersionTaken { current: 1 },
        Rejection::InUse,
        Rejection::Protected,
        Rejection::Invalid,
        Rejection::BootstrapClosed,
        Rejection::TokenSpent,
        Rejection::Formation,
        Rejection::OutcomeForgotten,
        Rejection::AccessChanged,
    ];
    let effects = effects.into_iter().map(Applied::Effect);
    effects
        .chain(rejections.into_iter().map(Applied::Rejected))
        .collect()
}
