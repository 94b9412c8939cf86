//! Follows an operation that runs in the service: steps as they happen, a progress bar, the result. The operation
//! does not need this process: when it is interrupted, it says how to follow again.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;
use towpath_env::Env;
use towpath_linker::operation::{OperationState, OperationView, Progress, StepSeen, exit};

use crate::failure::{Ended, Failure};
use crate::output::{Output, note};
use crate::service::Api;
use crate::{show, told};

/// How long a service that went away is waited for before its outcome counts as unknown.
const AWAY_MAX: Duration = Duration::from_secs(20);
/// Between two attempts to reach it.
const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// Without a terminal, how often progress is told.
const PROGRESS_LINE_EVERY: Duration = Duration::from_secs(10);

/// An operation as `--json` shows it.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    view: &'a OperationView,
    /// What failed, in the shape of every other error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

/// Follows `begun` until it ends or the person detaches, and shows the result.
///
/// # Errors
/// The service was lost and did not come back, or no longer knows the operation.
pub async fn to_the_end(api: &Api, begun: OperationView, output: &Output) -> Ended {
    note(&format!("operation {} (Ctrl-C detaches, it goes on in the service)", begun.id));
    let mut teller = Teller::new();
    teller.tell(&begun);
    let view = tokio::select! {
        view = last_view(api, begun.clone(), &mut teller) => view,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            teller.clear();
            let view: OperationView = api.get(&["v1", "operations", &begun.id], &[]).await.unwrap_or(begun);
            return detached(&view, output);
        }
    };
    teller.clear();
    let view = view?;
    let exit_code = view.exit_code.unwrap_or(exit::UNKNOWN);
    let failure = view.problem.as_ref().map(|problem| Failure::told("operation", problem, exit_code));
    let document = Document { view: &view, error: failure.as_ref().map(Failure::document) };
    output.result(&show::outcome::text(&view, output.has_colours()), &document)?;
    Ok(exit_code)
}

fn detached(view: &OperationView, output: &Output) -> Ended {
    let text = format!("{} goes on in the service\n\ntowpath watch {}", view.id, view.id);
    output.result(&text, &Document { view, error: None })?;
    Ok(exit::RUNNING)
}

/// The view in which the operation has ended.
async fn last_view(api: &Api, begun: OperationView, teller: &mut Teller) -> Result<OperationView, Failure> {
    let mut view = begun;
    let env = Env::real();
    let mut away_since: Option<Duration> = None;
    loop {
        if view.state == OperationState::Ended {
            return Ok(view);
        }
        match follow_once(api, view.clone(), teller).await {
            Ok(seen) => {
                // The stream ended without the operation: the service drains, or has gone.
                view = seen;
                if view.state == OperationState::Ended {
                    return Ok(view);
                }
            }
            Err(failure) if failure.kind == "caller" => return Err(lost(&view, &failure)),
            Err(failure) => {
                let since = *away_since.get_or_insert_with(|| env.elapsed());
                if env.elapsed().saturating_sub(since) > AWAY_MAX {
                    return Err(lost(&view, &failure));
                }
                env.sleep(AWAY_PAUSE).await;
                continue;
            }
        }
        away_since.get_or_insert_with(|| env.elapsed());
        env.sleep(AWAY_PAUSE).await;
    }
}

async fn follow_once(
    api: &Api,
    mut view: OperationView,
    teller: &mut Teller,
) -> Result<OperationView, Failure> {
    let mut lines = api.lines(&["v1", "operations", &view.id, "events"]).await?;
    while let Some(seen) = lines.next::<OperationView>().await? {
        teller.tell(&seen);
        view = seen;
        if view.state == OperationState::Ended {
            break;
        }
    }
    Ok(view)
}

fn lost(view: &OperationView, failure: &Failure) -> Failure {
    Failure {
        kind: "service".into(),
        message: format!(
            "{} was lost from sight: {}; how it ended is not known here",
            view.id, failure.message
        ),
        fix: Some(format!("see `towpath status {}`; repeating the verb is safe", view.family)),
        exit_code: exit::UNKNOWN,
    }
}

/// Tells what is new about an operation, to stderr.
struct Teller {
    steps_told: u64,
    bar: Option<(String, ProgressBar)>,
    env: Env,
    line_told: Option<Duration>,
}

impl Teller {
    fn new() -> Teller {
        Teller { steps_told: 0, bar: None, env: Env::real(), line_told: None }
    }

    fn tell(&mut self, view: &OperationView) {
        for (number, step) in view.numbered_steps() {
            if number < self.steps_told {
                continue;
            }
            if number > self.steps_told {
                note(&format!("... {} steps are no longer kept", number - self.steps_told));
            }
            self.steps_told = number + 1;
            let line = step_line(step);
            match &self.bar {
                Some((_, bar)) => bar.suspend(|| note(&line)),
                None => note(&line),
            }
        }
        match &view.progress {
            Some(progress) if std::io::stderr().is_terminal() => self.draw(progress),
            Some(progress) => self.say(progress),
            None => self.clear(),
        }
    }

    fn draw(&mut self, progress: &Progress) {
        if self.bar.as_ref().is_some_and(|(what, _)| *what != progress.what) {
            self.clear();
        }
        let (_, bar) = self.bar.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(progress.total), target).with_style(style());
            bar.set_message(progress.what.clone());
            (progress.what.clone(), bar)
        });
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    }

    /// Without a terminal a bar would be noise: a line now and then.
    fn say(&mut self, progress: &Progress) {
        let now = self.env.elapsed();
        if self.line_told.is_none_or(|told| now.saturating_sub(told) >= PROGRESS_LINE_EVERY) {
            self.line_told = Some(now);
            let (done, total) = (show::count(progress.done), show::count(progress.total));
            note(&format!("{}: {done} of {total}", progress.what));
        }
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn step_line(step: &StepSeen) -> String {
    let time = show::clock(step.at_ms);
    // Client ids and hosts are chosen by others.
    let text = told::harmless(&step.text);
    match &step.group {
        Some(group) => format!("{time}  {group}: {text}"),
        None => format!("{time}  {text}"),
    }
}

fn style() -> ProgressStyle {
    let template = match crate::output::colours_wanted() {
        true => "{msg} {bar:32.cyan} {human_pos}/{human_len}  {per_sec}  ETA {eta}",
        false => "{msg} {bar:32} {human_pos}/{human_len}  {per_sec}  ETA {eta}",
    };
    // A template that does not parse would show in the first run of any verb.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_names_its_time_and_group() {
        let step = StepSeen { at_ms: 1_000, group: Some("ranker".into()), text: "fenced".into() };
        assert_eq!(step_line(&step), "00:00:01.000Z  ranker: fenced");
    }

    #[test]
    fn the_bar_has_rate_and_eta() {
        for part in ["{per_sec}", "{eta}"] {
            let template = "{msg} {bar:32} {human_pos}/{human_len}  {per_sec}  ETA {eta}";
            assert!(template.contains(part) && ProgressStyle::with_template(template).is_ok());
        }
    }
}
