//! Budgets, and figures that are held to them.

use serde::Serialize;

use crate::spread::Spread;

/// What a figure must reach, and what is aimed at.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Budget {
    pub(crate) must: f64,
    pub(crate) aim: f64,
    /// Whether more is better.
    pub(crate) more: bool,
}

/// How a figure stands to its budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Aim,
    Reached,
    Missed,
}

impl Budget {
    pub(crate) const fn at_least(must: f64, aim: f64) -> Self {
        Self {
            must,
            aim,
            more: true,
        }
    }

    pub(crate) const fn at_most(must: f64, aim: f64) -> Self {
        Self {
            must,
            aim,
            more: false,
        }
    }

    /// By the median.
    pub(crate) fn verdict(self, figure: &Spread) -> Verdict {
        let reaches = |mark: f64| match self.more {
            true => figure.median >= mark,
            false => figure.median <= mark,
        };
        match (reaches(self.aim), reaches(self.must)) {
            (true, _) => Verdict::Aim,
            (_, true) => Verdict::Reached,
            _ => Verdict::Missed,
        }
    }
}

/// Something that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) spread: Spread,
    pub(crate) budget: Option<Budget>,
}

impl Figure {
    /// A figure without a budget.
    pub(crate) fn of(
        what: impl Into<String>,
        unit: &'static str,
        figures: impl IntoIterator<Item = f64>,
    ) -> Self {
        let spread = Spread::of(figures);
        Self {
            what: what.into(),
            unit,
            spread,
            budget: None,
        }
    }

    /// The same, held to a budget.
    pub(crate) fn held_to(self, budget: Budget) -> Self {
        Self {
            budget: Some(budget),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_missed_reached_or_met_with_the_aim() {
        let verdict = |budget: Budget, figure| budget.verdict(&Spread::of([figure]));
        let more = Budget::at_least(0.6, 0.85);
        assert_eq!(verdict(more, 0.59), Verdict::Missed);
        assert_eq!(verdict(more, 0.6), Verdict::Reached);
        assert_eq!(verdict(more, 0.9), Verdict::Aim);
        let less = Budget::at_most(3.0, 1.0);
        assert_eq!(verdict(less, 3.1), Verdict::Missed);
        assert_eq!(verdict(less, 2.0), Verdict::Reached);
        assert_eq!(verdict(less, 0.5), Verdict::Aim);
    }
}
