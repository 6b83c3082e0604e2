package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const canary = "c4nary-hunter2"

// walk prints everything that reflection reaches, unexported fields included.
func walk(b *strings.Builder, v reflect.Value, depth int) {
	if depth > 8 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			walk(b, v.Field(i), depth+1)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walk(b, v.Elem(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(b, v.Index(i), depth+1)
		}
	case reflect.String:
		b.WriteString(v.String())
	case reflect.Uint8:
		b.WriteByte(byte(v.Uint()))
	}
}

func TestASecretPrintsItsName(t *testing.T) {
	s := New("/db/password@3", []byte(canary))
	type inside struct {
		Public Secret
		hidden Secret
		list   []Secret
		m      map[string]Secret
		any    any
		ptr    *Secret
	}
	in := inside{s, s, []Secret{s}, map[string]Secret{"k": s}, s, &s}
	outputs := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%c", "%U", "%t", "%e", "%p", "%T", "%w", "%!", "%30v", "%-30.2s"} {
		outputs[verb] = fmt.Sprintf(verb, s)
		outputs[verb+" in"] = fmt.Sprintf(verb, in)
		outputs[verb+" pointer"] = fmt.Sprintf(verb, &in)
	}
	encode := func(v any, err error) string { return fmt.Sprintf("%s %v", v, err) }
	b, err := json.Marshal(in)
	outputs["json"] = encode(b, err)
	b, err = json.Marshal(map[string]any{"a": s, "b": &s})
	outputs["json map"] = encode(b, err)
	b, err = xml.Marshal(struct{ S Secret }{s})
	outputs["xml"] = encode(b, err)
	b, err = yaml.Marshal(map[string]any{"a": s, "p": in.Public})
	outputs["yaml"] = encode(b, err)
	var buf bytes.Buffer
	err = gob.NewEncoder(&buf).Encode(struct{ S Secret }{s})
	outputs["gob"] = encode(buf.String(), err)
	if err == nil {
		t.Error("gob took a secret")
	}
	for name, h := range map[string]slog.Handler{"slog text": slog.NewTextHandler(&buf, nil), "slog json": slog.NewJSONHandler(&buf, nil)} {
		buf.Reset()
		slog.New(h).Info("m", "s", s, "p", &s, "in", in, "group", slog.GroupValue(slog.Any("s", s)))
		outputs[name] = buf.String()
	}
	buf.Reset()
	_ = template.Must(template.New("").Parse(`{{.Public}} {{printf "%s %v" .Public .Public}} {{.}}`)).Execute(&buf, in)
	outputs["template"] = buf.String()
	outputs["error"] = fmt.Errorf("open: %v: %w", s, errors.Join(fmt.Errorf("%s", s))).Error()
	outputs["cmp"] = cmp.Diff(in, inside{}, cmp.Exporter(func(reflect.Type) bool { return true }))
	func() {
		defer func() { outputs["panic"] = fmt.Sprint(recover()) }()
		panic(fmt.Sprintf("%+v", in))
	}()
	var all strings.Builder
	walk(&all, reflect.ValueOf(in), 0)
	outputs["reflection"] = all.String()
	keys, err := ParseKeys([]byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	outputs["keys"] = fmt.Sprintf("%v %+v %#v %v %x", keys, keys, keys, struct{ k Keys }{keys}, keys)
	all.Reset()
	walk(&all, reflect.ValueOf(keys), 0)
	outputs["keys by reflection"] = all.String()
	for name, out := range outputs {
		if where := holds(out, canary); where != "" || strings.Contains(out, fmt.Sprint([]byte(canary))[1:20]) {
			t.Errorf("%s shows the value (%s): %s", name, where, out)
		}
		if strings.Contains(out, testKey[len("AGE-SECRET-KEY-1"):][:12]) {
			t.Errorf("%s shows a key: %s", name, out)
		}
	}
	if got := outputs["%v"]; got != "[secret /db/password@3]" {
		t.Errorf("%%v of a secret is %q", got)
	}
	if s.Wipe(); strings.Contains(string(s.Reveal()), "canary") || s.Len() != len(canary) {
		t.Errorf("after Wipe the value is %q", s.Reveal())
	}
}
