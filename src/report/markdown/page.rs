//! Text that grows by lines and tables.
//!
//! Main type: [`Page`].

/// Text that grows by lines and tables.
#[derive(Default)]
pub(in crate::report) struct Page {
    pub(super) text: String,
}

impl Page {
    pub(in crate::report) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    pub(in crate::report) fn heading(&mut self, words: &str) {
        self.line("");
        self.line(&format!("### {words}"));
        self.line("");
    }

    /// Cells are Markdown: escape what comes from outside before.
    pub(in crate::report) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.line(&format!("| {} |", head.join(" | ")));
        // Numbers to the right, words to the left.
        let align: Vec<&str> = head
            .iter()
            .enumerate()
            .map(|(column, name)| match *name {
                "Unit" | "for example" => ":--",
                _ if column == 0 => ":--",
                _ => "--:",
            })
            .collect();
        self.line(&format!("| {} |", align.join(" | ")));
        for row in rows {
            self.line(&format!("| {} |", row.join(" | ")));
        }
    }
}
