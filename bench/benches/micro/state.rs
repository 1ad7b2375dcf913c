//! `State::apply` on a state of 10,000 secrets, of which an older one is kept, as a published one is:
//! what is shared with it is copied on the way.

use criterion::{BatchSize, Criterion};
use strongroom_core::{Applied, Command, State};

use crate::world::{self, NOW, SECRETS};

fn measure(
    criterion: &mut Criterion,
    what: &str,
    state: &State,
    mut next: impl FnMut() -> Command,
) {
    criterion.bench_function(&format!("state/apply/{what}"), |bencher| {
        bencher.iter_batched(
            || (state.clone(), next()),
            |(mut state, command)| {
                let applied = state.apply(world::next(&state), NOW, command);
                assert!(matches!(applied, Applied::Effect(_)), "{applied:?}");
                state
            },
            BatchSize::SmallInput,
        );
    });
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let state = world::state(1);
    let mut numbers = world::shuffled(SECRETS.try_into().unwrap()).map(|number| number as u64);
    let mut next = || numbers.next().unwrap();
    measure(criterion, "create", &state, || {
        world::create(SECRETS + next())
    });
    measure(criterion, "update", &state, || world::update(next(), 2));
}
