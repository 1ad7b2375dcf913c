//! What is decided about nodes by name.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::select};

use super::*;

const NODES: [&str; 3] = ["1", "2", "node-3"];

fn node(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn admit(text: &str, admission: Admission) -> Command {
    Command::AdmitNode {
        name: node(text),
        admission,
    }
}

pub(super) fn node_command() -> impl Strategy<Value = Command> {
    let admission = prop_oneof![Just(Admission::Allowed), Just(Admission::Removed)];
    (select(&NODES[..]), admission).prop_map(|(name, admission)| admit(name, admission))
}

#[test]
fn the_last_word_about_a_name_counts() {
    let mut sut = Sut::new();
    assert_eq!(sut.state.admission(&node("4")), None);
    sut.ok(admit("4", Admission::Allowed));
    assert!(sut.state.lets_in("4") && !sut.state.keeps_out("4"));
    // Said twice it is as it was, so that a retry is safe.
    sut.ok(admit("4", Admission::Removed));
    sut.ok(admit("4", Admission::Removed));
    assert!(sut.state.keeps_out("4") && !sut.state.lets_in("4"));
    for other in ["5", "", "a/b", "04"] {
        assert!(!sut.state.keeps_out(other) && !sut.state.lets_in(other));
    }
    sut.ok(admit("4", Admission::Allowed));
    assert!(!sut.state.keeps_out("4"));
}

#[test]
fn the_names_are_bounded_and_those_known_can_be_changed_ever_after() {
    let mut sut = Sut::new();
    for n in 0..crate::limits::DECIDED_NODES {
        sut.ok(admit(&format!("n{n}"), Admission::Removed));
    }
    sut.refused(admit("one-more", Admission::Removed), Rejection::Invalid);
    sut.refused(admit("one-more", Admission::Allowed), Rejection::Invalid);
    sut.ok(admit("n7", Admission::Allowed));
    assert!(sut.state.lets_in("n7"));
}

proptest! {
    #[test]
    fn any_list_leaves_what_a_plain_map_would(commands in prop::collection::vec(node_command(), 0..20)) {
        let (mut sut, mut plain) = (Sut::new(), BTreeMap::new());
        for command in commands {
            if let Command::AdmitNode { name, admission } = &command {
                plain.insert(name.clone(), *admission);
            }
            sut.ok(command);
        }
        for name in NODES {
            prop_assert_eq!(sut.state.admission(&node(name)), plain.get(&node(name)).copied());
        }
        let records: Vec<_> = encode_state(&sut.state).collect();
        let mut decoder = StateDecoder::default();
        for record in &records {
            decoder.push(record).unwrap();
        }
        prop_assert_eq!(decoder.finish().unwrap(), sut.state);
    }
}
