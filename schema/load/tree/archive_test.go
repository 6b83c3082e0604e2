package tree

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// What is not a tree is an error.
func TestRubbishForTheChild(t *testing.T) {
	var ok bytes.Buffer
	tr := &Tree{Content: map[string][]byte{"fleet.cue": []byte("package fleet\n")}, Size: map[string]int64{"fleet.cue": 14}}
	if err := tr.Write(&ok); err != nil {
		t.Fatal(err)
	}
	got, err := ReadArchive(bytes.NewReader(ok.Bytes()))
	if err != nil || !reflect.DeepEqual(got, tr) {
		t.Errorf("ReadArchive = %+v, %v, want %+v", got, err, tr)
	}
	for n := range ok.Len() {
		if _, err := ReadArchive(bytes.NewReader(ok.Bytes()[:n])); err == nil {
			t.Errorf("a tree cut after %d bytes is read", n)
		}
	}
	for _, b := range []string{"", "{}", archiveMagic + "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"} {
		if _, err := ReadArchive(strings.NewReader(b)); err == nil {
			t.Errorf("ReadArchive(%q) is no error", b)
		}
	}
}
