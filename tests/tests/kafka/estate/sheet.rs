//! A recovery sheet, carried out with Kafka's own tools and nothing else.

use std::time::Duration;

use tempfile::TempDir;
use towpath_tests::kafka::{Tool, Tools};
use towpath_tests::process::output_of;

const TOOL_MAX: Duration = Duration::from_secs(60);

/// The commands of a sheet, in order, and the folder that they run in.
pub struct Sheet {
    commands: Vec<Vec<String>>,
    tools: Tools,
    folder: TempDir,
}

impl Sheet {
    /// Writes the files that the sheet tells to write.
    pub fn new(text: &str, tools: Tools) -> Sheet {
        let folder = tempfile::tempdir().unwrap();
        for part in text.split("cat > ").skip(1) {
            let (name, rest) = part.split_once(" <<'END'\n").unwrap();
            std::fs::write(folder.path().join(name), rest.split_once("END\n").unwrap().0).unwrap();
        }
        let text = text.replace("\\\n", " ");
        let commands = text.lines().map(str::trim).filter(|line| line.starts_with("kafka-"));
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        Sheet { commands: commands.map(words).collect(), tools, folder }
    }

    /// Runs the command that has this word; answers what it printed.
    pub async fn run(&self, word: &str) -> anyhow::Result<String> {
        let command = self.commands.iter().find(|command| command.iter().any(|part| part == word));
        let command = command.unwrap_or_else(|| panic!("{word}: {:?}", self.commands));
        let tool = match command[0].as_str() {
            "kafka-consumer-groups.sh" => Tool::ConsumerGroups,
            "kafka-console-consumer.sh" => Tool::ConsoleConsumer,
            other => panic!("{other}"),
        };
        let arguments: Vec<&str> = command[1..].iter().map(String::as_str).collect();
        let mut run = self.tools.command(tool, &arguments);
        run.current_dir(self.folder.path());
        let printed = output_of(&command[0], run, TOOL_MAX).await?;
        // The tool says what is wrong and exits with 0.
        match printed.lines().find(|line| line.contains("Error:")) {
            Some(error) => anyhow::bail!("{error}"),
            None => Ok(printed),
        }
    }
}
