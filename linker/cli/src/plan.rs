//! `towpath plan check` and `towpath plan show`: what a plan says, what is wrong with it, what it will take. Needs no service.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde_json::json;
use towpath_env::Env;
use towpath_linker::cluster::Cluster;
use towpath_linker::config::ServiceConfig;
use towpath_linker::load;
use towpath_linker::operation::exit;
use towpath_plans::model::{
    BrokerLoad, GroupPlan, PlanError, PlanFile, Setting, SettingSource, check_estate, format_bytes,
};
use towpath_plans::{Plan, Side};

use crate::failure::Ended;
use crate::output::{Output, note};
use crate::show;
use crate::told::{self, Told, harmless};

/// What can be done with a plan's file.
#[derive(Subcommand)]
pub enum Verb {
    /// Find everything that is wrong with plans, each with line, column and fix
    Check(CheckArguments),
    /// Show what a plan says, every default included, and why each is what it is
    Show(ShowArguments),
}

/// Arguments of `towpath plan check`.
#[derive(Args)]
pub struct CheckArguments {
    /// Plan files; several are also checked against each other
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `towpath plan show`.
#[derive(Args)]
pub struct ShowArguments {
    /// The plan's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The service's file: measures on the source what catching up will take
    #[arg(long, value_name = "SERVICE_FILE")]
    config: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs a verb.
pub fn run(verb: Verb) -> (Output, Ended) {
    match verb {
        Verb::Check(arguments) => told::tell("plan-check", arguments.json, check(&arguments)),
        Verb::Show(arguments) => told::tell("plan-show", arguments.json, show(&arguments)),
    }
}

/// Checks plans. Exit code 1 when one of them cannot be linked as it stands.
///
/// # Errors
/// A file cannot be read.
fn check(arguments: &CheckArguments) -> Result<Told> {
    let mut plans = Vec::new();
    let mut problems = Vec::new();
    for file in &arguments.files {
        match read(file)? {
            Ok(plan) => plans.push(plan),
            Err(refused) => problems.extend(refused.problems),
        }
    }
    // Plans that lean on others can only be checked with the others at hand.
    if problems.is_empty()
        && arguments.files.len() > 1
        && let Err(refused) = check_estate(&plans, &[])
    {
        problems.extend(refused.problems);
    }
    Ok(match problems.is_empty() {
        true => sound(&arguments.files, &plans),
        false => refused(&PlanError { problems }),
    })
}

/// Shows what a plan says. Exit code 1 when it cannot be read as one.
///
/// # Errors
/// A file cannot be read, or the source cannot be measured.
fn show(arguments: &ShowArguments) -> Result<Told> {
    let plan = match read(&arguments.file)? {
        Ok(plan) => plan,
        Err(error) => return Ok(refused(&error)),
    };
    let measured = match &arguments.config {
        None => None,
        Some(config) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Some(runtime.block_on(measure(&ServiceConfig::read(config)?, &plan.plan))?)
        }
    };
    Ok(shown(&plan, measured.as_deref()))
}

/// For so long the growth of the source is watched.
const MEASURED: Duration = Duration::from_secs(10);

async fn measure(config: &ServiceConfig, plan: &Plan) -> Result<Vec<BrokerLoad>> {
    let env = Env::real();
    let source = Cluster::connect(config, &plan.source, Side::Source, &env).await?;
    note(&format!("watching for {} s how much producers add on {}", MEASURED.as_secs(), plan.source));
    let load = load::measure(&source, plan, MEASURED, &env).await;
    source.client.close();
    Ok(load?)
}

fn read(file: &PathBuf) -> Result<std::result::Result<PlanFile, PlanError>> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("cannot read {name}; fix: name a plan's file that is there and may be read")
    })?;
    Ok(PlanFile::read(&name, &text))
}

/// What a check of files alone cannot say.
const OFFLINE: &str =
    "No cluster was asked: `towpath link FILE --dry-run` checks topics, groups and coordinators.";

fn sound(files: &[PathBuf], plans: &[PlanFile]) -> Told {
    let lines: Vec<String> =
        plans.iter().map(|plan| format!("{}: {}", plan.file, summary(&plan.plan))).collect();
    let leans = plans.iter().any(|plan| !plan.plan.uses.is_empty()) && files.len() == 1;
    let note = match leans {
        true => "\nTopics under `uses:` are another plan's: name that file too, to check both together.",
        false => "",
    };
    let next =
        files.iter().map(|file| format!("towpath link {}", file.display())).collect::<Vec<_>>().join("\n");
    let text = format!("{}{note}\n{OFFLINE}\n\n{next}", lines.join("\n"));
    let families: Vec<_> = plans
        .iter()
        .map(|plan| json!({ "file": plan.file, "family": plan.plan.family, "hash": plan.plan.hash() }))
        .collect();
    let document = json!({ "sound": true, "offline": true, "problems": [], "plans": families });
    Told { text: harmless(&text), document, exit_code: exit::DONE }
}

fn refused(error: &PlanError) -> Told {
    let count = error.problems.len();
    let mut lines = vec![format!("{count} problem{}", if count == 1 { "" } else { "s" }), String::new()];
    for problem in &error.problems {
        let place = match problem.line {
            0 => problem.file.clone(),
            line => format!("{}:{line}:{}", problem.file, problem.column),
        };
        lines.push(format!("{place}: {}", problem.message));
        lines.push(format!("  fix: {}", problem.fix));
    }
    let document = json!({ "sound": false, "problems": error.problems });
    Told { text: harmless(&lines.join("\n")), document, exit_code: exit::FAILED }
}

fn summary(plan: &Plan) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "family {} moves {} and {} from {} to {}",
        plan.family,
        count(plan.topics.len(), "topic selector"),
        count(plan.groups.len(), "group"),
        plan.source,
        plan.target
    )
}

fn shown(file: &PlanFile, measured: Option<&[BrokerLoad]>) -> Told {
    let plan = &file.plan;
    let settings = plan.explain();
    let order: Vec<&str> = plan.move_order().iter().map(|group| group.name.as_str()).collect();
    let topics: Vec<String> = plan.topics.iter().map(ToString::to_string).collect();
    let or_none = |names: &str| if names.is_empty() { "none".to_owned() } else { names.to_owned() };
    let text = format!(
        "{}\n\n  plan hash  {}\n  topics     {}\n  groups     {}\n\n\
         Each setting with its value, where it comes from, and why the default is what it is:\n\n{}\n\n{}\n\n\
         towpath link {}",
        summary(plan),
        plan.hash(),
        or_none(&topics.join(", ")),
        or_none(&order.join(", then ")),
        listing(&settings),
        estimated(plan, measured, &file.file),
        file.file,
    );
    let groups: Vec<&GroupPlan> = plan.move_order();
    let document = json!({
        "file": file.file,
        "family": plan.family,
        "source": plan.source,
        "target": plan.target,
        "hash": plan.hash(),
        "topics": topics,
        "groups": groups.iter().map(|group| &group.name).collect::<Vec<_>>(),
        "settings": settings,
        "estimate": measured.map(|brokers| json!({ "brokers": brokers, "whole": plan.estimate(brokers) })),
    });
    Told { text: harmless(&text), document, exit_code: exit::DONE }
}

/// What catching up will take.
fn estimated(plan: &Plan, measured: Option<&[BrokerLoad]>, file: &str) -> String {
    let Some(brokers) = measured else {
        return format!(
            "Not measured: the bytes, hours and egress that catching up takes.\n\
             towpath plan show {file} --config SERVICE_FILE"
        );
    };
    let estimate = plan.estimate(brokers);
    let brokers = match brokers.len() {
        1 => "1 broker".to_owned(),
        n => format!("{n} brokers"),
    };
    let incoming = |id| move |load: &&BrokerLoad| Some(load.broker_id) == id;
    let slowest = measured.and_then(|all| all.iter().find(incoming(estimate.slowest_broker_id)));
    let limit = format_bytes(plan.link.bandwidth_bytes_per_s_max);
    let time = match (estimate.catch_up_ms, slowest) {
        (Some(ms), Some(load)) => format!(
            "{} at {limit} per broker and second; broker {} takes longest",
            show::duration(i64::try_from(ms).unwrap_or(i64::MAX)),
            load.broker_id
        ),
        (Some(_), None) => "nothing to catch up with".into(),
        (None, load) => format!(
            "never: producers add {} a second on broker {}, and link.bandwidth_max is {limit}",
            format_bytes(load.map_or(0, |load| load.incoming_bytes_per_s)),
            load.map_or(-1, |load| load.broker_id)
        ),
    };
    let egress = estimate.egress_bytes.map_or_else(
        || "without end".to_owned(),
        |bytes| format!("{} until then, and as much again for the diff", size(bytes)),
    );
    format!(
        "To catch up, as measured on {} just now:\n  held      {} on {brokers}\n  time      {time}\n  egress    {egress}",
        plan.source,
        size(estimate.held_bytes)
    )
}

/// Bytes as a person reads them, to three digits.
fn size(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1_000.0 && unit + 1 < units.len() {
        value /= 1_000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} bytes"),
        _ if value < 10.0 => format!("{value:.2} {}", units[unit]),
        _ if value < 100.0 => format!("{value:.1} {}", units[unit]),
        _ => format!("{value:.0} {}", units[unit]),
    }
}

/// The settings under the heads that they have in the file, `groups[NAME]` or `gates`.
fn listing(settings: &[Setting]) -> String {
    let mut sections: Vec<(&str, Vec<(&str, &Setting)>)> = Vec::new();
    for setting in settings {
        let (head, name) = setting.path.rsplit_once('.').unwrap_or(("plan", &setting.path));
        match sections.last_mut() {
            Some((last, rows)) if *last == head => rows.push((name, setting)),
            _ => sections.push((head, vec![(name, setting)])),
        }
    }
    let section = |(head, rows): &(&str, Vec<(&str, &Setting)>)| format!("{head}\n{}", table(rows));
    sections.iter().map(section).collect::<Vec<_>>().join("\n\n")
}

/// Widths of the columns: setting, value, where it comes from, why; all tables alike, 100 together.
const WIDTHS: [u16; 4] = [26, 22, 9, 43];

fn table(rows: &[(&str, &Setting)]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).force_no_tty();
    for (name, setting) in rows {
        let from = match setting.from {
            SettingSource::Plan => "plan",
            SettingSource::Default => "default",
        };
        let value = if setting.value.is_empty() { "[]" } else { &setting.value };
        table.add_row([*name, value, from, &setting.reason]);
    }
    for (column, width) in table.column_iter_mut().zip(WIDTHS) {
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plans/examples")
    }

    fn checked(texts: &[(&str, &str)]) -> Told {
        let folder = tempfile::tempdir().unwrap();
        let files = texts
            .iter()
            .map(|(name, text)| {
                let file = folder.path().join(name);
                std::fs::write(&file, text).unwrap();
                file
            })
            .collect();
        let mut told = check(&CheckArguments { files, json: false }).unwrap();
        told.text = told.text.replace(&format!("{}/", folder.path().display()), "");
        told
    }

    #[test]
    fn every_problem_has_line_column_and_fix() {
        let told = checked(&[(
            "views.yaml",
            "family: product-views\nsource: legacy\ntarget: towpath\ntopcs: [product-views]\ngroups:\n  \
             - { name: session-ranker, fence: evikt, pause_max: 5 s }\n",
        )]);
        assert_eq!(told.exit_code, 1);
        assert_eq!(told.document["problems"][1]["line"], 4);
        insta::assert_snapshot!(told.text);
    }

    #[test]
    fn plans_are_checked_against_each_other() {
        let one = "family: a\nsource: legacy\ntarget: towpath\ntopics: [views]\ngroups: [ranker]\n";
        let told = checked(&[("a.yaml", one), ("b.yaml", &one.replace("family: a", "family: b"))]);
        assert_eq!(told.exit_code, 1);
        insta::assert_snapshot!(told.text);
    }

    #[test]
    fn sound_plans_say_what_to_do_next() {
        let files = ["inventory", "pricing"].map(|name| examples().join(format!("{name}.yaml"))).into();
        let told = check(&CheckArguments { files, json: false }).unwrap();
        assert_eq!(told.exit_code, 0, "{}", told.text);
        let folder = format!("{}/", examples().display());
        insta::assert_snapshot!(told.text.replace(&folder, ""));
    }

    #[test]
    fn a_plan_is_shown_with_every_setting_in_100_columns() {
        let file = examples().join("orders.yaml");
        let told = super::show(&ShowArguments { file, config: None, json: false }).unwrap();
        let text = told.text.replace(&format!("{}/", examples().display()), "");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(told.document["family"], "orders");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_catching_up_takes_is_told_and_so_is_that_it_never_will() {
        let plan = Plan::new("views", "legacy", "towpath");
        let load = |broker_id, held_bytes, incoming_bytes_per_s| BrokerLoad {
            broker_id,
            held_bytes,
            incoming_bytes_per_s,
        };
        let loads = [load(1, 1_200_000_000_000, 10_000_000), load(2, 40_000_000_000, 0)];
        let told = estimated(&plan, Some(&loads), "views.yaml");
        insta::assert_snapshot!(told);
        let never = estimated(&plan, Some(&[load(3, 10, 60_000_000)]), "views.yaml");
        assert!(never.contains("never: producers add 60MB a second on broker 3"), "{never}");
        let none = estimated(&plan, None, "views.yaml");
        assert!(none.contains("towpath plan show views.yaml --config SERVICE_FILE"), "{none}");
        assert_eq!(
            [999, 1_000, 12_345_678, 123_456_789].map(size),
            ["999 bytes", "1.00 kB", "12.3 MB", "123 MB"]
        );
    }

    #[test]
    fn what_steers_a_terminal_is_not_printed() {
        let told = checked(&[("x.yaml", "family: \"a\\u001b[2J\"\nsource: s\ntarget: t\ntopics: [x]\n")]);
        assert_eq!(told.exit_code, 1);
        assert!(!told.text.contains('\u{1b}'), "{}", told.text);
    }
}
