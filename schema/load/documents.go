package load

import (
	"fmt"
	slash "path"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// documentFolder has the documents that are files of their own.
const documentFolder = "documents/"

// maxDocument bounds a document in bytes, as a file or as JSON (SSM §3.1).
const maxDocument = 64 << 10

// documentFiles reads documents/*.json, *.yaml and *.yml, one document a file, and holds each against the definitions.
// A name that CUE or another file has too is a fault at the later path.
func (l *loading) documentFiles() {
	var names []string
	for name := range l.tree.Content {
		if rest, ok := strings.CutPrefix(name, documentFolder); ok && slash.Ext(rest) != ".cue" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	read := make([]*object, len(names))
	l.inParallel(len(names), func(i int) { read[i] = l.documentFile(names[i], l.tree.Content[names[i]]) })
	for i, name := range names {
		o := read[i]
		for _, m := range o.told {
			l.placed(o, m)
		}
		prev := l.objects[o.key]
		if prev == nil {
			l.objects[o.key] = o
			l.list = append(l.list, o)
			continue
		}
		first, later := prev, o
		if at := l.fallback(prev); at.File > name {
			first, later = o, prev
		}
		at, p := l.fallback(first), l.fallback(later)
		l.faultAt(p.File, p.Line, p.Column, o.key.path().String(), "already in "+place(at, p.File)+"; a document is written once")
		o.wrong, prev.wrong = true, true
	}
	for name := range l.tree.Size {
		rest, ok := strings.CutPrefix(name, documentFolder)
		if ext := strings.ToLower(slash.Ext(rest)); ok && !tree.Evaluated(name) && (ext == ".json" || ext == ".yaml" || ext == ".yml") {
			why := "write the ending in small letters"
			if strings.Contains(rest, "/") {
				why = "documents are files of " + documentFolder + " itself"
			}
			l.add(schema.Fault{File: name, Severity: schema.SeverityWarning, Message: "not read: " + why})
		}
	}
}

// unread warns of files that look like policy or a roster and that nothing reads: people who come from other tools write
// them as YAML.
func (l *loading) unread() {
	for name := range l.tree.Size {
		folder, base := slash.Split(name)
		ext := strings.ToLower(slash.Ext(base))
		if ext != ".yaml" && ext != ".yml" && ext != ".json" || l.sources[name] {
			continue
		}
		word := strings.TrimSuffix(folder, "/")
		if word == "" {
			word = strings.TrimSuffix(base, ext) // fleet.yaml
		}
		m := ""
		switch one, many := strings.TrimSuffix(word, "s"), strings.TrimSuffix(word, "ies")+"y"; {
		case word == "nodes":
			m = "not read: the roster is lines of JSON in nodes/*.jsonl, as dunlin node line prints them"
		case word != "documents" && (l.kinds[word] || l.kinds[one] || l.kinds[many]):
			m = "not read: policy is written in .cue files; JSON and YAML are for documents/ alone"
		default:
			continue
		}
		l.add(schema.Fault{File: name, Severity: schema.SeverityWarning, Message: m})
	}
}

// documentFile makes an object of a file; what is wrong with it is told of and not reported yet.
func (l *loading) documentFile(name string, b []byte) *object {
	base := slash.Base(name)
	o := &object{key: objKey{"document", strings.TrimSuffix(base, slash.Ext(base))}}
	p := o.key.path()
	if len(b) > maxDocument {
		o.text, o.wrong = readPlain(name, nil, p), true
		o.told = []mistake{{path: p, where: p, message: tooLarge(len(b))}}
		return o
	}
	o.text = readPlain(name, b, p)
	if m := l.nameMistake(o.key); m != "" {
		o.text.found = append(o.text.found, mistake{path: p, where: p, label: true, message: m + ": a document is named as its file, without the ending"})
	}
	c := &checker{defs: l.defs}
	if m, ok := otherDocument(o.text.value, p); ok {
		c.found = append(c.found, m)
		o.text.value = nil
	}
	if o.text.value != nil {
		if c.check(l.objectShape("document"), o.text.value, p); c.bad && len(c.found) == 0 {
			c.wrong(p, "not a document; see dunlin schema document")
		}
	}
	for i, m := range c.found {
		if m.message == "a struct; text is wanted" && o.text.runes {
			c.found[i].message += " (in YAML put quotes around a text that has a colon in it)"
		}
	}
	o.told = append(o.text.found, c.found...)
	if o.wrong = len(o.told) > 0; o.wrong {
		o.partial = o.text.value
	} else {
		o.value = o.text.value
	}
	return o
}

// otherDocument says of what is no command document at all what it is.
func otherDocument(n *value, p path) (mistake, bool) {
	q := p.field("schemaVersion")
	switch version := n.str("schemaVersion"); {
	case n == nil:
	case n.str("Content") != "" && n.get("schemaVersion") == nil:
		return mistake{path: p, where: p, message: "what aws ssm get-document prints; take it over with: dunlin import ssm-document"}, true
	case version == "0.3":
		return mistake{path: q, where: q, message: `"0.3" is an Automation runbook's; only command documents, "2.2", "2.0" and "1.2", can be run here`}, true
	case n.get("sessionType") != nil:
		s := p.field("sessionType")
		return mistake{path: s, where: s, label: true, message: "a document of Session Manager; sessions are granted here: dunlin schema grant"}, true
	}
	return mistake{}, false
}

func tooLarge(n int) string {
	return fmt.Sprintf("%d bytes; a document has at most %d", n, maxDocument)
}
