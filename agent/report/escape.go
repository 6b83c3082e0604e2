package report

import "github.com/dunlin-dev/dunlin/schema/safe"

// maxText bounds a text from outside on a page, in characters.
const maxText = 64

// clean makes a text harmless to look at: one line, bounded, and nothing in it that a reader does not see.
func clean(s string) string { return safe.Line(s, maxText) }

// markdown is an outside text as Markdown shows it letter for letter, in a cell of a table too.
func markdown(s string) string { return safe.Markdown(clean(s)) }

// xml is an outside text for SVG, as text or within an attribute.
func xml(s string) string { return escape(clean(s)) }

// escape is a text for SVG that is made of clean ones and may be long.
func escape(s string) string { return safe.HTML(s) }
