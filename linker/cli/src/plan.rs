//! `towpath plan check` and `towpath plan show`: what a plan says, and what is wrong with it. Needs no service.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde_json::json;
use towpath_linker::operation::exit;
use towpath_plans::Plan;
use towpath_plans::model::{GroupPlan, PlanError, PlanFile, Setting, SettingSource, check_estate};

use crate::failure::Ended;
use crate::output::Output;
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
/// The file cannot be read.
fn show(arguments: &ShowArguments) -> Result<Told> {
    Ok(match read(&arguments.file)? {
        Ok(plan) => shown(&plan),
        Err(error) => refused(&error),
    })
}

fn read(file: &PathBuf) -> Result<std::result::Result<PlanFile, PlanError>> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    Ok(PlanFile::read(&name, &text))
}

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
    let text = format!("{}{note}\n\n{next}", lines.join("\n"));
    let families: Vec<_> = plans
        .iter()
        .map(|plan| json!({ "file": plan.file, "family": plan.plan.family, "hash": plan.plan.hash() }))
        .collect();
    let document = json!({ "sound": true, "problems": [], "plans": families });
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

fn shown(file: &PlanFile) -> Told {
    let plan = &file.plan;
    let settings = plan.explain();
    let order: Vec<&str> = plan.move_order().iter().map(|group| group.name.as_str()).collect();
    let topics: Vec<String> = plan.topics.iter().map(ToString::to_string).collect();
    let or_none = |names: &str| if names.is_empty() { "none".to_owned() } else { names.to_owned() };
    let text = format!(
        "{}\n\n  plan hash  {}\n  topics     {}\n  groups     {}\n\n\
         Each setting with its value, where it comes from, and why the default is what it is:\n\n{}\n\n\
         towpath link {}",
        summary(plan),
        plan.hash(),
        or_none(&topics.join(", ")),
        or_none(&order.join(", then ")),
        listing(&settings),
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
    });
    Told { text: harmless(&text), document, exit_code: exit::DONE }
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
        let told = show(&ShowArguments { file, json: false }).unwrap();
        let text = told.text.replace(&format!("{}/", examples().display()), "");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(told.document["family"], "orders");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_steers_a_terminal_is_not_printed() {
        let told = checked(&[("x.yaml", "family: \"a\\u001b[2J\"\nsource: s\ntarget: t\ntopics: [x]\n")]);
        assert_eq!(told.exit_code, 1);
        assert!(!told.text.contains('\u{1b}'), "{}", told.text);
    }
}
