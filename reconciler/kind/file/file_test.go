package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// still is a host with one file, which refuses to be written.
type still struct {
	got  schema.File
	blob schema.Blob
	err  error
}

func (s still) LookFiles(_ context.Context, rs []schema.Resource, found func(int, schema.File, schema.Blob, error)) {
	for i := range rs {
		found(i, s.got, s.blob, s.err)
	}
}
func (still) WriteFile(context.Context, string, schema.File, []byte) error {
	return errors.New("written")
}
func (still) ChangeFile(context.Context, string, schema.File) error { return errors.New("changed") }
func (still) RemoveFile(context.Context, string) error              { return errors.New("removed") }

func TestADifferenceNamesOnlyWhatDiffers(t *testing.T) {
	content := "hello"
	right := blobOf([]byte(content))
	other := schema.Blob{SHA256: strings.Repeat("ab", 32), Size: right.Size}
	there := schema.File{State: schema.Present, Mode: "0644", Owner: "root", Group: "root"}
	same := there
	same.Content = &content
	for _, tt := range []struct {
		name string
		want schema.File
		host still
		out  string // action: want <- got, or error
		does string // what Apply calls
	}{
		{"nothing differs", schema.File{Content: &content, Mode: "0644"}, still{same, schema.Blob{Size: 5}, nil}, "", ""},
		{"the content", schema.File{Content: &content, Mode: "0644"}, still{there, other, nil}, "update: sha256:2cf24dba5fb0… <- sha256:abababababab…", "written"},
		{"the size", schema.File{Content: &content}, still{there, schema.Blob{Size: 9}, nil}, "update: sha256:2cf24dba5fb0… (5 bytes) <- 9 bytes", "written"},
		{"the mode", schema.File{Content: &content, Mode: "0600"}, still{same, schema.Blob{Size: 5}, nil}, "update: mode 0600 <- mode 0644", "changed"},
		{"the mode, and it lends rights", schema.File{Content: &content, Mode: "4755"}, still{same, schema.Blob{Size: 5}, nil}, "update: mode 4755 <- mode 0644", "written"},
		{"owner and group without content", schema.File{Owner: "www", Group: "www"}, still{there, right, nil}, "update: owner www, group www <- owner root, group root", "changed"},
		{"a missing file", schema.File{Content: &content, Mode: "0600"}, still{schema.File{State: schema.Absent}, schema.Blob{}, nil}, "create: sha256:2cf24dba5fb0…, mode 0600 <- ", "written"},
		{"a missing file without content", schema.File{Mode: "0600"}, still{schema.File{State: schema.Absent}, schema.Blob{}, nil}, "error: the policy gives no content", ""},
		{"a file that should not be", schema.File{State: schema.Absent}, still{there, right, nil}, "delete:  <- 5 bytes, mode 0644", "removed"},
		{"absent below a missing folder", schema.File{State: schema.Absent}, still{schema.File{}, schema.Blob{}, fs.ErrNotExist}, "", ""},
		{"both content and source", schema.File{Content: &content, Source: "x"}, still{there, right, nil}, "error: alternatives", ""},
		{"a source without digest", schema.File{Source: "x"}, still{there, right, nil}, "error: its digest is not known", ""},
		{"an unknown state", schema.File{State: "maybe"}, still{there, right, nil}, "error: neither present nor absent", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.State == "" {
				tt.want.State = schema.Present
			}
			r := schema.Resource{Kind: schema.KindFile, Key: "/x", Mode: schema.Enforce, File: &tt.want}
			k := Kind{Host: tt.host}
			got := k.Check(t.Context(), []schema.Resource{r})[0]
			text := ""
			if got.Err != nil {
				text = "error: " + got.Err.Error()
			}
			for _, d := range got.Drift {
				text += fmt.Sprintf("%s: %s <- %s", d.Action, d.Want, d.Got)
			}
			if words, ok := strings.CutPrefix(tt.out, "error: "); ok && !(got.Err != nil && strings.Contains(text, words)) || !ok && text != tt.out {
				t.Errorf("Check = %q, want %q", text, tt.out)
			}
			err := k.Apply(t.Context(), []schema.Resource{r})[0]
			if tt.does == "" && got.Err == nil && err != nil || tt.does != "" && (err == nil || !strings.HasSuffix(err.Error(), tt.does)) {
				t.Errorf("Apply = %v, want %q", err, tt.does)
			}
		})
	}
}

// vault has one secret.
type vault struct {
	value string
	err   error
	open  *int
}

func (v vault) Look(parameter string) (schema.Blob, error) {
	if v.err != nil || parameter != "/db/pass" {
		return schema.Blob{}, errors.Join(v.err, errors.New("no such secret"))
	}
	sum, err := v.Digest(parameter, blobOf([]byte(v.value)).SHA256)
	return schema.Blob{SHA256: sum, Size: int64(len(v.value))}, err
}
func (vault) Digest(_, sum string) (string, error) { return strings.ToUpper("k" + sum), nil }
func (v vault) Open(string) ([]byte, func(), error) {
	b := []byte(v.value)
	return b, func() { clear(b); *v.open-- }, nil
}

func TestASecretIsNeitherShownNorKeptOpen(t *testing.T) {
	const value = "canary-hunter2"
	there := schema.File{State: schema.Present, Mode: "0600", Owner: "root", Group: "root"}
	want := schema.File{State: schema.Present, ContentFrom: &schema.ContentFrom{Parameter: "/db/pass"}, Mode: "0600"}
	right, other := blobOf([]byte(value)), blobOf([]byte("canary-hunter3"))
	keyed := "keyed:" + strings.ToUpper("k" + right.SHA256)[:12] + "…"
	for _, tt := range []struct {
		name    string
		want    schema.File
		secrets Secrets
		host    still
		out     string
		does    string
	}{
		{"nothing differs", want, vault{value: value}, still{there, right, nil}, "", ""},
		{"the content", want, vault{value: value}, still{there, other, nil}, "update: " + keyed + " <- keyed:" + strings.ToUpper("k" + other.SHA256)[:12] + "…", "written"},
		{"the size", want, vault{value: value}, still{there, schema.Blob{Size: 99}, nil}, "update: " + keyed + " <- other content", "written"},
		{"the mode", want, vault{value: value}, still{schema.File{State: schema.Present, Mode: "0644"}, right, nil}, "update: mode 0600 <- mode 0644", "changed"},
		{"a missing file", want, vault{value: value}, still{schema.File{State: schema.Absent}, schema.Blob{}, nil}, "create: " + keyed + ", mode 0600 <- ", "written"},
		{"a secret for others", want, vault{err: errors.New("not for this host")}, still{there, other, nil}, "error: not for this host", ""},
		{"no secrets at all", want, nil, still{there, other, nil}, "error: no secrets can be read here", ""},
		{"a file that should not be", schema.File{State: schema.Absent, ContentFrom: want.ContentFrom}, nil, still{there, other, nil}, "delete:  <- mode 0600", "removed"},
		{"content as well", schema.File{State: schema.Present, ContentFrom: want.ContentFrom, Source: "x"}, vault{value: value}, still{there, other, nil}, "error: alternatives", ""},
		{"what was a secret before", schema.File{State: schema.Present, Content: new(string)}, nil, still{there, other, nil}, "update: sha256:e3b0c44298fc… <- other content", "written"},
		{"what was a secret and should not be", schema.File{State: schema.Absent}, nil, still{there, other, nil}, "delete:  <- mode 0600", "removed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			open := 1
			if v, ok := tt.secrets.(vault); ok {
				v.open = &open
				tt.secrets = v
			}
			if tt.want.State == "" {
				tt.want.State = schema.Present
			}
			r := schema.Resource{Kind: schema.KindFile, Key: "/x", Mode: schema.Enforce, File: &tt.want}
			k := Kind{Host: tt.host, Secrets: tt.secrets}
			c := k.Check(context.Background(), []schema.Resource{r})[0]
			got := ""
			switch {
			case c.Err != nil:
				got = "error: " + c.Err.Error()
			case len(c.Drift) > 0:
				got = fmt.Sprintf("%s: %s <- %s", c.Drift[0].Action, c.Drift[0].Want, c.Drift[0].Got)
			}
			if want, ok := strings.CutPrefix(tt.out, "error: "); ok && (c.Err == nil || !strings.Contains(got, want)) || !ok && got != tt.out {
				t.Errorf("Check says %q, want %q", got, tt.out)
			}
			err := k.Apply(context.Background(), []schema.Resource{r})[0]
			if tt.does != "" && (err == nil || !strings.Contains(err.Error(), tt.does)) || tt.does == "" && c.Err == nil && err != nil {
				t.Errorf("Apply says %v, want %q", err, tt.does)
			}
			if tt.does == "written" && tt.want.ContentFrom != nil && open != 0 {
				t.Errorf("the value was left open %d times", open)
			}
			for _, leak := range []string{value, right.SHA256[:8], other.SHA256[:8]} {
				if strings.Contains(got+fmt.Sprint(err), leak) {
					t.Errorf("%q is shown: %s, %v", leak, got, err)
				}
			}
			if r.Blob != nil {
				t.Error("the caller's resource was changed")
			}
		})
	}
}
