//! What formats after the first two have added: values of their commands, and a state that holds
//! their records too.

use strongroom_core::{
    Admission, Command, LogPosition, LogTime, NodeName, State, command::NewVersion,
};

use super::{states, values};

fn node(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

/// Since format 3.
pub(crate) fn commands() -> Vec<Command> {
    vec![
        Command::AdmitNode {
            name: node("4"),
            admission: Admission::Allowed,
        },
        Command::AdmitNode {
            name: node("vault-2.example"),
            admission: Admission::Removed,
        },
    ]
}

/// Since format 5.
pub(crate) fn values() -> Vec<Command> {
    let value = |number: u64, access, until| Command::PutValue {
        name: values::name("secret/db/password"),
        version: NewVersion {
            number,
            sealed: values::sealed(7),
        },
        access,
        until,
    };
    vec![
        value(1, 1, None),
        value(u64::MAX, 300, Some(LogTime(1_767_323_045_678))),
    ]
}

/// The state of the formats before, and a record of each kind in this one.
pub(crate) fn state(format: u8) -> State {
    let mut state = states::state();
    let all = [Command::RaiseFormat { to: format }]
        .into_iter()
        .chain(commands());
    for (index, command) in (100..).zip(all) {
        let at = LogPosition { term: 2, index };
        let applied = state.apply(at, LogTime(1_767_323_045_678), command);
        applied.into_result().unwrap();
    }
    state
}
