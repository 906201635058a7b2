//! Computes how long a token still lives when a program reads it. That follows from how often the
//! refresher runs and how early it mints.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use token_keeper::lease::MAX_LIFE;

use super::finding::{Finding, Severity};

/// How often the refresher runs if nobody says anything else.
pub(super) const DEFAULT: SignedDuration = SignedDuration::from_mins(15);

/// The shortest life that a program can find, in seconds. Zero or less means an expired token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Worst {
    /// If no run is lost.
    normal: i64,
    /// If the run that should mint is lost.
    pub(super) one_lost: i64,
    /// If the run after that is lost too.
    two_lost: i64,
    /// If no run is lost, but a consent made the token between two runs. At the last run before the
    /// one that mints, the token can have one second more than the margin left.
    after_consent: i64,
}

impl Worst {
    /// Follows one token of this `life` from the run that mints it to the run that mints the next
    /// one.
    pub(super) fn of(schedule: SignedDuration, margin: SignedDuration, life: SignedDuration) -> Self {
        let (every, margin) = (schedule.as_secs().max(1), margin.as_secs());
        let mut left = life.as_secs().saturating_sub(every);
        while left > margin {
            left = left.saturating_sub(every);
        }
        let one_lost = left.saturating_sub(every);
        let two_lost = one_lost.saturating_sub(every);
        Self { normal: left, one_lost, two_lost, after_consent: margin.saturating_sub(every) }
    }

    fn severity(&self) -> Severity {
        match self {
            Self { normal, after_consent, .. } if *normal <= 0 || *after_consent <= 0 => Severity::Wrong,
            Self { one_lost: ..=0, .. } => Severity::Note,
            _ => Severity::Ok,
        }
    }
}

/// Compares the schedule with the margin.
pub(super) fn check(schedule: SignedDuration, margin: SignedDuration) -> Finding {
    let worst = Worst::of(schedule, margin, MAX_LIFE);
    let [normal, one, two, consent] =
        [worst.normal, worst.one_lost, worst.two_lost, worst.after_consent].map(in_minutes);
    let what = format!(
        "every {schedule:#}, margin {margin:#}; shortest life of a token that a program reads: {normal} (after a consent {consent}, \
         after one lost run {one}, after two {two})"
    );
    let why = match worst.severity() {
        Severity::Ok => return Finding::ok("schedule", what),
        Severity::Note => "one run that fails or is late leaves programs with an expired token",
        Severity::Wrong => "programs read an expired token even if no run is lost",
    };
    let remedy = "run the refresher every 15m with TOKEN_KEEPER_MARGIN_S=2100 (the defaults); if it already runs at another interval, give \
                  that with --schedule";
    Finding::new("schedule", worst.severity(), what, why, remedy)
}

/// How often an expression such as `rate(15 minutes)` runs. `None` for anything else.
pub(super) fn interval(expression: &str) -> Option<SignedDuration> {
    let rate = expression.strip_prefix("rate(")?.strip_suffix(')')?.parse::<Span>().ok()?;
    rate.to_duration(SpanRelativeTo::days_are_24_hours()).ok().filter(SignedDuration::is_positive)
}

/// For a schedule that does not say how often it runs.
pub(super) fn unclear(expression: &str, margin: SignedDuration) -> Finding {
    let what = format!("{expression}, margin {margin:#}: doctor can compare only rate(...) with the margin");
    let why = "the longest pause between two runs decides how long a token lives when a program reads it";
    Finding::new(
        "schedule",
        Severity::Note,
        what,
        why,
        "give that pause, for example token-keeper doctor --schedule 30m",
    )
}

/// Whole minutes of life, rounded down.
fn in_minutes(seconds: i64) -> String {
    if seconds < 0 {
        format!("expired for {} min", seconds.saturating_neg().saturating_add(59) / 60)
    } else {
        format!("{} min", seconds / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_life_follows_from_schedule_and_margin() {
        let check = |schedule: i64, margin: i64, expected: [i64; 4], severity: Severity| {
            let worst = Worst::of(SignedDuration::from_mins(schedule), SignedDuration::from_mins(margin), MAX_LIFE);
            let minutes = [worst.normal, worst.one_lost, worst.two_lost, worst.after_consent].map(|left| left / 60);
            assert_eq!((minutes, worst.severity()), (expected, severity), "schedule {schedule}, margin {margin}");
        };
        check(15, 35, [30, 15, 0, 20], Severity::Ok);
        check(1, 35, [35, 34, 33, 34], Severity::Ok);
        check(10, 35, [30, 20, 10, 25], Severity::Ok);
        check(5, 58, [55, 50, 45, 53], Severity::Ok);
        check(15, 16, [15, 0, -15, 1], Severity::Note);
        check(20, 35, [20, 0, -20, 15], Severity::Note);
        check(30, 35, [30, 0, -30, 5], Severity::Note);
        check(25, 35, [35, 10, -15, 10], Severity::Ok);
        check(30, 58, [30, 0, -30, 28], Severity::Note);
        check(15, 10, [0, -15, -30, -5], Severity::Wrong);
        check(35, 35, [25, -10, -45, 0], Severity::Wrong);
        check(45, 35, [15, -30, -75, -10], Severity::Wrong);
        check(60, 35, [0, -60, -120, -25], Severity::Wrong);
        check(60, 58, [0, -60, -120, -2], Severity::Wrong);
        check(1440, 35, [-1380, -2820, -4260, -1405], Severity::Wrong);
    }

    #[test]
    fn a_rate_says_how_often_it_runs() {
        let check = |expression: &str, minutes: Option<i64>| {
            assert_eq!(interval(expression), minutes.map(SignedDuration::from_mins), "{expression}");
        };
        check("rate(1 minute)", Some(1));
        check("rate(15 minutes)", Some(15));
        check("rate(1 hour)", Some(60));
        check("rate(2 hours)", Some(120));
        check("rate(1 day)", Some(1440));
        check("cron(0/15 * * * ? *)", None);
        check("rate(0 minutes)", None);
        check("rate(often)", None);
    }

    #[test]
    fn the_finding_says_it_in_a_sentence() {
        let what = |schedule, margin| {
            super::check(SignedDuration::from_secs(schedule), SignedDuration::from_secs(margin)).what
        };
        assert_eq!(
            what(900, 2100),
            "every 15m, margin 35m; shortest life of a token that a program reads: 30 min (after a consent 20 min, after one lost run \
             15 min, after two 0 min)"
        );
        assert_eq!(
            what(3600, 90),
            "every 1h, margin 1m 30s; shortest life of a token that a program reads: 0 min (after a consent expired for 59 min, after \
             one lost run expired for 60 min, after two expired for 120 min)"
        );
        assert!(what(i64::MAX, 2100).contains("program reads: expired for"), "the longest schedule");
    }

    /// Checks the formula for a consent's token for every second at which a consent can happen.
    #[test]
    fn the_formula_holds_for_every_moment_of_a_consent() {
        for (every, margin) in [(900, 2100), (1200, 2100), (1800, 600), (3600, 2100), (60, 3480)] {
            let found = (0..every).map(|phase| {
                let runs = (1..).map(|run| 3600 - (run * every - phase));
                runs.into_iter().find(|left| *left <= margin).expect("a run that mints")
            });
            let worst = Worst::of(SignedDuration::from_secs(every), SignedDuration::from_secs(margin), MAX_LIFE);
            assert_eq!(found.min(), Some(worst.after_consent + 1), "every {every}, margin {margin}");
        }
    }
}
