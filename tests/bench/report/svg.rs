//! The few shapes that the plots are made of.

use std::fmt::Write as _;

/// A drawing under way.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// Where a text stands against its place.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty one, on white: pages are dark, too.
    pub fn new(width: f64, height: f64) -> Svg {
        let mut svg = Svg { body: String::new(), width, height };
        svg.rect((0.0, 0.0), (width, height), "#ffffff");
        svg
    }

    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        self.element(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
        ));
    }

    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str, width: f64) {
        self.element(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\" \
             stroke-width=\"{width}\"/>"
        ));
    }

    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, fill: &str) {
        self.element(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\"/>"));
    }

    pub fn text(&mut self, place: (f64, f64), anchor: Anchor, size: f64, text: &str) {
        self.styled(place, (anchor, size, "#222222", "normal"), text);
    }

    pub fn heading(&mut self, place: (f64, f64), size: f64, text: &str) {
        self.styled(place, (Anchor::Start, size, "#222222", "bold"), text);
    }

    pub fn faint(&mut self, place: (f64, f64), anchor: Anchor, size: f64, text: &str) {
        self.styled(place, (anchor, size, "#666666", "normal"), text);
    }

    fn styled(&mut self, (x, y): (f64, f64), style: (Anchor, f64, &str, &str), text: &str) {
        let (anchor, size, fill, weight) = style;
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.element(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{fill}\" \
             font-weight=\"{weight}\">{text}</text>"
        ));
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// The document.
    pub fn finish(self) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n{}</svg>\n",
            self.body
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_document() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), Anchor::Middle, 12.0, "a < b & c");
        let document = svg.finish();
        assert!(document.contains(">a &lt; b &amp; c</text>"), "{document}");
        assert!(document.starts_with("<svg ") && document.ends_with("</svg>\n"));
    }
}
