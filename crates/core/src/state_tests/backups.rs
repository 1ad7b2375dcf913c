//! Backups, and what a restore makes of them.

use sha2::{Digest, Sha256};

use super::*;
use crate::{
    RestoreId,
    backup::{self, BackupError, Reader},
    codec::encode_content,
    limits,
    rehearsal::{RehearsalError, rehearse},
    restore::commands,
};

const ID: RestoreId = RestoreId([7; 16]);

fn formed(cluster: u8) -> Sut {
    let mut sut = Sut::unformed();
    sut.ok(Command::Form {
        cluster_id: ClusterId([cluster; 16]),
    });
    sut
}

fn admin_token(name: &str, tag: u8) -> Command {
    Command::CreateToken {
        name: token(name),
        fingerprint: print(tag),
        role: role("admin"),
        ttl_secs: None,
        bound_cidrs: Allowlist::default(),
        num_uses: None,
    }
}

/// Secrets, a role, and two tokens.
fn filled(cluster: u8) -> Sut {
    let mut sut = formed(cluster);
    sut.ok(admin_token("boss", 1));
    sut.ok(admin_token("leaked", 2));
    sut.ok(create("secret/a", automatic(60), Some(1)));
    sut.ok(put("secret/a", 2, None));
    sut.ok(create("secret/b", SecretSettings::manual(), Some(1)));
    sut.ok(Command::CreateRole {
        name: role("dev"),
        description: "develops".into(),
        is_admin: false,
        permissions: Vec::new(),
        rules: Vec::new(),
    });
    sut
}

fn bytes_of(state: &State) -> Vec<u8> {
    backup::encode(state).flatten().collect()
}

fn read(bytes: &[u8], piece: usize) -> Result<State, BackupError> {
    let mut reader = Reader::default();
    for piece in bytes.chunks(piece) {
        reader.push(piece)?;
    }
    reader.finish()
}

fn content(state: &State) -> Vec<Vec<u8>> {
    // Without the head, which says where in a log it was.
    encode_content(state).skip(1).collect()
}

/// The commands of a restore of `of`, in parts of so many bytes.
fn restore(of: &State, part: usize, force: bool, keep: Option<&str>) -> Vec<Command> {
    let bytes: Vec<u8> = encode_content(of)
        .flat_map(|record| backup::frame(&record))
        .collect();
    let mut commands = vec![Command::BeginRestore { id: ID }];
    for (number, piece) in bytes.chunks(part).enumerate() {
        commands.push(Command::RestorePart {
            id: ID,
            number: number as u64,
            bytes: Bytes::copy_from_slice(piece),
        });
    }
    commands.push(Command::EndRestore {
        id: ID,
        parts: commands.len() as u64 - 1,
        sha256: Sha256::digest(&bytes).into(),
        force,
        keep: keep.map(token),
    });
    commands
}

fn run(sut: &mut Sut, commands: Vec<Command>) -> Result<Effect, Rejection> {
    let mut last = None;
    for command in commands {
        last = Some(sut.run(command));
    }
    last.unwrap()
}

#[test]
fn the_commands_of_a_restore_carry_every_record_once() {
    let mut sut = filled(1);
    for n in 0..400 {
        sut.ok(create(
            &format!("secret/{n}/{}", "x".repeat(490)),
            SecretSettings::manual(),
            Some(1),
        ));
    }
    let made: Vec<Command> = commands(&sut.state, ID, true, Some(token("boss"))).collect();
    let expected = restore(&sut.state, limits::RESTORE_PART_BYTES, true, Some("boss"));
    assert!(made.len() > 3, "more than one part");
    assert_eq!(made, expected);
}

#[test]
fn a_rehearsal_passes_what_restores_and_nothing_else() {
    let older = filled(1).state;
    let mut sut = filled(1);
    sut.ok(put("secret/b", 2, None));
    let taken = sut.state;
    let read_again = read(&bytes_of(&taken), 512).unwrap();
    assert_eq!(rehearse(&taken, &read_again), Ok(()));
    assert_eq!(rehearse(&taken, &older), Err(RehearsalError::Another));
    // Whole, and of no cluster that ever formed.
    let unformed = Sut::unformed().state;
    assert_eq!(
        rehearse(&unformed, &unformed),
        Err(RehearsalError::Refused(Rejection::Formation))
    );
}

#[test]
fn a_backup_is_read_as_it_was_whatever_pieces_it_comes_in() {
    let state = filled(1).state;
    let bytes = bytes_of(&state);
    for piece in [1, 7, 4_096, bytes.len()] {
        assert_eq!(read(&bytes, piece).as_ref(), Ok(&state), "{piece}");
    }
}

#[test]
fn a_backup_that_is_cut_changed_or_followed_is_refused() {
    let bytes = bytes_of(&filled(1).state);
    for end in 0..bytes.len() {
        let cut = read(&bytes[..end], 512);
        assert_eq!(cut, Err(BackupError::CutShort), "cut at {end}");
    }
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            assert!(read(&changed, 512).is_err(), "bit {bit} of byte {at}");
        }
    }
    for more in [&b"\0"[..], &bytes] {
        let longer = [&bytes[..], more].concat();
        assert_eq!(read(&longer, 512), Err(BackupError::Longer));
    }
    assert_eq!(read(b"", 1), Err(BackupError::CutShort));
    assert_eq!(read(b"{\"secrets\":[]}", 4), Err(BackupError::NotABackup));
    let mut newer = bytes.clone();
    newer[8] += 1;
    assert_eq!(read(&newer, 512), Err(BackupError::Newer));
    let mut newer = bytes.clone();
    // The first record's format.
    newer[13] = crate::codec::FORMAT + 1;
    assert_eq!(read(&newer, 512), Err(BackupError::Newer));
}

#[test]
fn a_restore_replaces_everything_and_keeps_what_belongs_to_the_cluster() {
    let backup = filled(1).state;
    for part in [17, 1_000, limits::RESTORE_PART_BYTES] {
        let mut sut = formed(2);
        sut.ok(Command::RaiseFormat { to: 3 });
        sut.ok(admin_token("new", 9));
        let before = sut.state.clone();
        let mut commands = restore(&backup, part, false, Some("new"));
        let end = commands.pop().unwrap();
        for command in commands {
            sut.ok(command);
            // Until the last nobody sees anything of it.
            assert_eq!(sut.state.secret_count(), 0);
            assert_eq!(sut.state.tokens, before.tokens);
        }
        let staged = decoded(&sut.state);
        assert_eq!(staged, sut.state);
        sut.ok(end);
        let state = &sut.state;
        assert_eq!(state.cluster_id(), before.cluster_id());
        assert_eq!(state.format(), 3);
        assert!(state.time() >= before.time() && state.position() > before.position());
        assert_eq!(state.secrets, backup.secrets);
        assert_eq!(state.roles, backup.roles);
        assert!(state.bootstrap_closed());
        // The one who restored can still get in, and so can who could then.
        for tag in [1, 2, 9] {
            assert!(state.grant(&print(tag), state.time()).is_some(), "{tag}");
        }
        assert_eq!(decoded(state), *state, "everything derived is derived anew");
    }
}

fn decoded(state: &State) -> State {
    let mut decoder = StateDecoder::default();
    for record in encode_state(state) {
        decoder.push(&record).unwrap();
    }
    decoder.finish().unwrap()
}

#[test]
fn what_was_revoked_after_the_backup_stays_revoked() {
    let mut sut = filled(1);
    sut.ok(Command::RaiseFormat { to: 3 });
    let backup = sut.state.clone();
    sut.ok(Command::RevokeToken {
        name: token("leaked"),
    });
    sut.ok(Command::DeleteSecret {
        name: secret("secret/a"),
    });
    run(&mut sut, restore(&backup, 500, false, Some("boss"))).unwrap();
    assert!(sut.state.secret(&secret("secret/a")).is_some());
    assert!(sut.state.grant(&print(1), sut.state.time()).is_some());
    assert!(sut.state.grant(&print(2), sut.state.time()).is_none());
    assert_eq!(decoded(&sut.state), sut.state);
}

#[test]
fn another_clusters_backup_needs_force_where_there_are_secrets() {
    let backup = filled(1).state;
    let mut sut = filled(2);
    sut.ok(Command::RaiseFormat { to: 3 });
    let before = content(&sut.state);
    let refused = run(&mut sut, restore(&backup, 500, false, None));
    assert_eq!(refused, Err(Rejection::InUse));
    assert_eq!(content(&sut.state), before);
    // What was gathered is still there; the same restore can go on.
    let forced = restore(&backup, 500, true, None).pop().unwrap();
    sut.ok(forced);
    assert_eq!(sut.state.secrets, backup.secrets);
}

#[test]
fn a_restore_that_does_not_fit_changes_nothing() {
    let backup = filled(1).state;
    let whole = restore(&backup, 300, false, None);
    let change = |at: usize, change: &dyn Fn(&mut Command)| {
        let mut commands = whole.clone();
        let at = at % commands.len();
        change(&mut commands[at]);
        let mut sut = filled(1);
        sut.ok(Command::RaiseFormat { to: 3 });
        let before = content(&sut.state);
        let last = run(&mut sut, commands);
        assert!(last.is_err(), "{at}: {last:?}");
        assert_eq!(content(&sut.state), before);
    };
    for at in 1..whole.len() - 1 {
        change(at, &|command| {
            let Command::RestorePart { bytes, .. } = command else {
                panic!("a part");
            };
            let mut changed = bytes.to_vec();
            changed[0] ^= 1;
            *bytes = changed.into();
        });
        change(at, &|command| *command = Command::Tick);
    }
    change(whole.len() - 1, &|command| {
        if let Command::EndRestore { parts, .. } = command {
            *parts -= 1;
        }
    });
    change(whole.len() - 1, &|command| {
        if let Command::EndRestore { keep, .. } = command {
            *keep = Some(token("nobody"));
        }
    });
    change(whole.len() - 1, &|command| {
        if let Command::EndRestore { id, .. } = command {
            *id = RestoreId([8; 16]);
        }
    });
}

#[test]
fn one_restore_at_a_time_and_one_that_is_given_up_goes() {
    let mut sut = filled(1);
    sut.ok(Command::RaiseFormat { to: 3 });
    let other = RestoreId([8; 16]);
    sut.ok(Command::BeginRestore { id: ID });
    sut.ok(Command::BeginRestore { id: ID });
    let busy = sut.run(Command::BeginRestore { id: other });
    assert_eq!(busy, Err(Rejection::InUse));
    let part = |number, bytes: &'static [u8]| Command::RestorePart {
        id: ID,
        number,
        bytes: Bytes::from_static(bytes),
    };
    sut.ok(part(0, b"one"));
    // Handed over twice, and out of order.
    sut.ok(part(0, b"one"));
    let gap = sut.run(part(2, b"three"));
    assert_eq!(gap, Err(Rejection::Invalid));
    assert_eq!(sut.state.restore.as_ref().unwrap().bytes, 3);
    sut.pass(limits::RESTORE_PAUSE_SECS + 1);
    sut.ok(Command::Tick);
    assert_eq!(sut.state.restore, None);
    sut.ok(Command::BeginRestore { id: other });
}
