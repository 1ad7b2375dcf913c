//! A figure taken several times.

use serde::Serialize;

/// The middle of several figures, and how far they lie apart.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of these; all zero if there are none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
        let middle = sorted.len() / 2;
        Self {
            median: match sorted.len() % 2 {
                0 if middle > 0 => f64::midpoint(at(middle - 1), at(middle)),
                _ => at(middle),
            },
            least: at(0),
            most: at(sorted.len().saturating_sub(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle() {
        let median = |figures: &[f64]| Spread::of(figures.iter().copied()).median;
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert_eq!(median(&[]), 0.0);
        let spread = Spread::of([5.0, 1.0, 9.0]);
        assert_eq!((spread.least, spread.most), (1.0, 9.0));
    }
}
