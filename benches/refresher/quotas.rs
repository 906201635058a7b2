//! Stories with AWS's quotas and sick neighbours: how many connections are refreshed, how many
//! tokens are lost, and how long it takes.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::quota::Quotas;
use testkit::wire::{Fault, Rule};
use testkit::zoho::answers;

use crate::function::Function;
use crate::installation::{CONCURRENCY, Installation};
use crate::{Bench, secs};

/// The most time for the puts, as a multiple of the time that the quota alone requires, plus
/// seconds.
const PACE_AIM: (f64, f64) = (1.2, 3.0);
/// The same for a quota that is far above the pace at the start.
const FAST_AIM: f64 = 1.5;
/// Tokens that may be lost if the store refuses for good, apart from those already under way.
const LOST_AIM: usize = 3;

impl Bench {
    /// Runs all stories. They take some minutes, because quotas do.
    pub(crate) fn quotas(&mut self) {
        let (slow, fast) = (Quotas::default(), Quotas { puts_per_second: 40.0, ..Quotas::default() });
        let paced = |due: f64| PACE_AIM.0 * due / slow.puts_per_second + PACE_AIM.1;
        for due in [120, 300] {
            let name = format!("{due} due, {} puts a second allowed", slow.puts_per_second);
            self.story(&name, &Story { due, aim_s: Some(paced(due.into())), quotas: slow, ..Story::default() });
        }
        let name = format!("100 due in two instances that share {} a second", slow.puts_per_second);
        self.story(
            &name,
            &Story { due: 100, instances: 2, aim_s: Some(paced(100.0)), quotas: slow, ..Story::default() },
        );
        let aim_s = Some(FAST_AIM * 600.0 / fast.puts_per_second);
        self.story("600 due, 40 a second allowed", &Story { due: 600, aim_s, quotas: fast, ..Story::default() });

        let throttled = Fault::Respond(answers::throttled());
        let name = "8 that Zoho always throttles + 120 of the same client";
        self.story(name, &Story { due: 128, sick: (8, Some(throttled)), quotas: slow, ..Story::default() });
        let unknown = Fault::Respond(answers::refusal("a_word_of_tomorrow"));
        let name = "40 with an error word that is not known + 120";
        self.story(name, &Story { due: 160, sick: (40, Some(unknown)), quotas: slow, ..Story::default() });
        self.story(
            "120 due, puts refused for good",
            &Story { due: 120, refused: true, quotas: slow, ..Story::default() },
        );
    }

    fn story(&mut self, name: &str, story: &Story) {
        let installation = Installation::with_due_within(story.due, story.quotas);
        let names = installation.names();
        if let (sick, Some(fault)) = &story.sick {
            for seeded in &installation.seeded[..*sick] {
                let rule = Rule::on("zoho", "refresh_token").about(&seeded.refresh_token);
                installation.faults.add(rule, fault.clone());
            }
        }
        if story.refused {
            let refusal = testkit::aws::error("AccessDeniedException", "not authorized");
            installation.faults.add(Rule::on("ssm", "PutParameter"), Fault::Respond(refusal));
        }
        let start = Instant::now();
        let reports: Vec<Value> = thread::scope(|scope| {
            let chunks = names.chunks(names.len().div_ceil(story.instances));
            let runs: Vec<_> = chunks
                .map(|names| {
                    let (function, _) = Function::start(&self.ours, &installation.environment());
                    let event = json!({"connections": names});
                    scope.spawn(move || function.invoke(event).0)
                })
                .collect();
            runs.into_iter().map(|run| run.join().expect("a run")).collect()
        });
        let wall = start.elapsed();
        let refreshed: u64 = reports.iter().filter_map(|report| report["refreshed"].as_u64()).sum();
        let lost = installation.mints().saturating_sub(usize::try_from(refreshed).unwrap_or(usize::MAX));
        let healthy = if story.refused { 0 } else { story.due as usize - story.sick.0 };

        let row = self.table.row(name, secs(wall));
        if let Some(aim_s) = story.aim_s {
            let aim = Duration::from_secs_f64(aim_s);
            row.aim(format!("≤ {}", secs(aim)), wall <= aim);
        }
        let row = self.table.row("… refreshed", format!("{refreshed} of {healthy}"));
        row.aim(healthy, refreshed == healthy as u64);
        let lost_aim = if story.refused { LOST_AIM + CONCURRENCY as usize } else { 0 };
        self.table.row("… tokens wasted", lost).aim(format!("≤ {lost_aim}"), lost <= lost_aim);
        if refreshed != healthy as u64 || lost > lost_aim {
            self.wrong.push(format!("{name}: {refreshed} of {healthy} refreshed, {lost} tokens lost"));
        }
    }
}

/// What is wrong behind the refresher, and what the run must achieve.
struct Story {
    due: u32,
    instances: usize,
    quotas: Quotas,
    /// How many due connections always get this answer from Zoho.
    sick: (usize, Option<Fault>),
    /// Whether the store refuses every put.
    refused: bool,
    aim_s: Option<f64>,
}

impl Default for Story {
    fn default() -> Self {
        Self { due: 0, instances: 1, quotas: Quotas::default(), sick: (0, None), refused: false, aim_s: None }
    }
}
