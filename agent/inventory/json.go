package inventory

import (
	"bufio"
	"encoding/json"
	"unicode/utf8"
)

// WriteApplications writes apps as encoding/json does with SetEscapeHTML(false)
// and an indent of two spaces below prefix. Done by hand since reflection and
// indenting cost more than reading the packages. An error comes again from w.Flush.
func WriteApplications(w *bufio.Writer, apps []Application, prefix string) {
	_ = w.WriteByte('[')
	for i := range apps {
		a := &apps[i]
		b := w.AvailableBuffer()
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '\n'), prefix...), "  {"...)
		first := true
		for _, f := range [...]struct {
			name, value string
			always      bool
		}{
			{"Name", a.Name, true}, {"ApplicationType", a.ApplicationType, false}, {"Publisher", a.Publisher, false}, {"Version", a.Version, true},
			{"InstalledTime", a.InstalledTime, false}, {"Architecture", a.Architecture, true}, {"URL", a.URL, false}, {"Summary", a.Summary, false},
			{"PackageId", a.PackageID, false},
		} {
			if f.value == "" && !f.always {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(append(append(b, '\n'), prefix...), `    "`...)
			b = append(append(b, f.name...), `": `...)
			b = appendString(b, f.value)
		}
		_, _ = w.Write(append(append(append(b, '\n'), prefix...), "  }"...))
	}
	if len(apps) > 0 {
		_, _ = w.WriteString("\n" + prefix)
	}
	_ = w.WriteByte(']')
}

// appendString appends a JSON string; what needs more than quotes is left to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendOddString(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendOddString(b []byte, s string) []byte {
	w := sliceWriter{b}
	enc := json.NewEncoder(&w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string always encodes
		return append(b, `""`...)
	}
	return w.b[:len(w.b)-1] // without the newline
}

type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}
