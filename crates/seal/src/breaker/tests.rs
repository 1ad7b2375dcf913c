use proptest::prelude::*;

use super::*;

const CONFIG: BreakerConfig = BreakerConfig {
    failures: 3,
    open_for: Duration::from_secs(2),
};
const NONE: Duration = Duration::ZERO;

fn fail(breaker: &mut Breaker, now: Instant, times: u32) {
    for _ in 0..times {
        let pass = breaker.admit(now).unwrap();
        breaker.settle(pass, Verdict::Unavailable, now, NONE);
    }
}

#[test]
fn it_opens_after_failures_in_a_row_and_refuses() {
    let (mut breaker, now) = (Breaker::new(CONFIG), Instant::now());
    fail(&mut breaker, now, 2);
    let pass = breaker.admit(now).unwrap();
    breaker.settle(pass, Verdict::Answers, now, NONE);
    fail(&mut breaker, now, 2);
    assert_eq!(breaker.state(now), BreakerState::Closed, "not in a row");
    fail(&mut breaker, now, 1);
    assert_eq!(breaker.state(now), BreakerState::Open);
    assert_eq!(breaker.admit(now), None);
    let later = now + Duration::from_millis(1_999);
    assert_eq!(
        (breaker.admit(later), breaker.state(later)),
        (None, BreakerState::Open)
    );
    assert_eq!(breaker.opened(), 1);
}

#[test]
fn half_open_it_lets_one_call_through_and_that_one_decides() {
    for (verdict, state) in [
        (Verdict::Answers, BreakerState::Closed),
        (Verdict::Unavailable, BreakerState::Open),
        (Verdict::Abandoned, BreakerState::HalfOpen),
    ] {
        let (mut breaker, start) = (Breaker::new(CONFIG), Instant::now());
        fail(&mut breaker, start, 3);
        let now = start + CONFIG.open_for;
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        let probe = breaker.admit(now).unwrap();
        assert_eq!(breaker.admit(now), None, "one");
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        breaker.settle(probe, verdict, now, NONE);
        assert_eq!(breaker.state(now), state);
        assert_eq!(
            breaker.admit(now).is_some(),
            verdict != Verdict::Unavailable
        );
    }
}

#[test]
fn a_call_that_fails_late_says_nothing_once_another_was_answered() {
    let (mut breaker, now) = (Breaker::new(CONFIG), Instant::now());
    let hang: Vec<_> = (0..9).map(|_| breaker.admit(now).unwrap()).collect();
    let pass = breaker.admit(now).unwrap();
    breaker.settle(pass, Verdict::Answers, now, NONE);
    for pass in hang {
        breaker.settle(pass, Verdict::Unavailable, now, NONE);
    }
    assert_eq!(breaker.state(now), BreakerState::Closed);
    fail(&mut breaker, now, 3);
    assert_eq!(breaker.state(now), BreakerState::Open, "those count");
}

#[test]
fn a_call_from_before_counts_in_no_later_phase() {
    let (mut breaker, start) = (Breaker::new(CONFIG), Instant::now());
    let old: Vec<_> = (0..4).map(|_| breaker.admit(start).unwrap()).collect();
    fail(&mut breaker, start, 3);
    let now = start + CONFIG.open_for;
    let probe = breaker.admit(now).unwrap();
    for (pass, verdict) in old.into_iter().zip([
        Verdict::Answers,
        Verdict::Unavailable,
        Verdict::Abandoned,
        Verdict::Unavailable,
    ]) {
        breaker.settle(pass, verdict, now, NONE);
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(now), None, "the probe is still under way");
    }
    breaker.settle(probe, Verdict::Answers, now, NONE);
    assert_eq!(breaker.state(now), BreakerState::Closed);
}

#[test]
fn jitter_at_most_doubles_the_time() {
    for (jitter, open_for) in [(0, 2_000), (700, 2_700), (2_000, 4_000), (60_000, 4_000)] {
        let (mut breaker, now) = (Breaker::new(CONFIG), Instant::now());
        fail(&mut breaker, now, 2);
        let pass = breaker.admit(now).unwrap();
        breaker.settle(
            pass,
            Verdict::Unavailable,
            now,
            Duration::from_millis(jitter),
        );
        let open_for = Duration::from_millis(open_for);
        assert_eq!(
            breaker.state(now + open_for - Duration::from_millis(1)),
            BreakerState::Open
        );
        assert_eq!(breaker.state(now + open_for), BreakerState::HalfOpen);
    }
}

#[test]
fn with_no_failures_allowed_it_never_opens() {
    let config = BreakerConfig {
        failures: 0,
        ..CONFIG
    };
    let (mut breaker, now) = (Breaker::new(config), Instant::now());
    fail(&mut breaker, now, 100);
    assert_eq!(breaker.state(now), BreakerState::Closed);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Admit,
    Settle(usize, Verdict, u64),
}

fn step(verdicts: impl Strategy<Value = Verdict>) -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_000u64).prop_map(Step::Wait),
        Just(Step::Admit),
        (any::<prop::sample::Index>(), verdicts, 0..3_000u64)
            .prop_map(|(at, verdict, jitter)| Step::Settle(at.index(8), verdict, jitter)),
    ]
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Answers),
        Just(Verdict::Unavailable),
        Just(Verdict::Abandoned)
    ]
}

/// Plays steps, with a simpler account of what must hold kept beside it. Returns the breaker with
/// the passes that are still out, and the time.
fn play(steps: &[Step]) -> (Breaker, Vec<Pass>, Instant) {
    let (mut breaker, mut now) = (Breaker::new(CONFIG), Instant::now());
    let mut out = Vec::new();
    for step in steps {
        let before = (breaker.state(now), breaker.opened());
        match *step {
            Step::Wait(millis) => now += Duration::from_millis(millis),
            Step::Admit => {
                let live = |passes: &[Pass], epoch| passes.iter().any(|p: &Pass| p.epoch == epoch);
                let probing = breaker.phase == Phase::Probing && live(&out, breaker.epoch);
                let pass = breaker.admit(now);
                let expected = match before.0 {
                    BreakerState::Closed => true,
                    BreakerState::Open => false,
                    BreakerState::HalfOpen => !probing,
                };
                assert_eq!(pass.is_some(), expected, "{before:?}");
                out.extend(pass);
            }
            Step::Settle(at, verdict, jitter) if !out.is_empty() => {
                let pass = out.remove(at % out.len());
                let current = pass.epoch == breaker.epoch;
                breaker.settle(pass, verdict, now, Duration::from_millis(jitter));
                if breaker.opened() > before.1 {
                    assert!(
                        current && verdict == Verdict::Unavailable,
                        "only a failure opens it"
                    );
                }
                if !current {
                    assert_eq!(breaker.state(now), before.0);
                }
            }
            Step::Settle(..) => {}
        }
        let probes = out.iter().filter(|pass| pass.epoch == breaker.epoch);
        assert!(breaker.phase != Phase::Probing || probes.count() == 1);
    }
    (breaker, out, now)
}

proptest! {
    #[test]
    fn it_lets_calls_through_as_it_should_and_is_never_stuck(
        steps in prop::collection::vec(step(any_verdict()), 0..200)
    ) {
        let (mut breaker, out, now) = play(&steps);
        for pass in out {
            breaker.settle(pass, Verdict::Abandoned, now, NONE);
        }
        let later = now + CONFIG.open_for * 2;
        let pass = breaker.admit(later);
        prop_assert!(pass.is_some(), "with nothing under way, a call passes after the longest wait");
        breaker.settle(pass.unwrap(), Verdict::Answers, later, NONE);
        prop_assert_eq!(breaker.state(later), BreakerState::Closed);
    }

    #[test]
    fn a_service_that_answers_is_never_cut_off(
        steps in prop::collection::vec(
            step(prop_oneof![Just(Verdict::Answers), Just(Verdict::Abandoned)]), 0..200)
    ) {
        let (breaker, _, now) = play(&steps);
        prop_assert_eq!((breaker.state(now), breaker.opened()), (BreakerState::Closed, 0));
    }
}
