package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// validateFile checks one file that is no part of a policy: a run, or facts of a host.
func (a *app) validateFile(name, format string) error {
	file, err := os.Open(name)
	if err != nil {
		return exitWith{code: exitError, err: fmt.Errorf("validate: %w", err)}
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, schema.MaxFacts+1))
	if err != nil {
		return exitWith{code: exitError, err: fmt.Errorf("validate: %w", err)}
	}
	var faults []schema.Fault
	switch {
	case filepath.Ext(name) != ".json":
		return exitWith{code: exitError, err: fmt.Errorf("validate %q: not a folder", name), hint: "name a folder with policy files, a bare Git repository, or a run or facts as a file of JSON"}
	case isRun(b):
		_, faults = load.Run(filepath.ToSlash(name), b, nil)
	default:
		_, faults = schema.ParseFacts(b)
	}
	base := filepath.Base(name)
	for i := range faults {
		faults[i].File, faults[i].Severity = base, schema.SeverityError
	}
	dir := filepath.Dir(name)
	found := findings{tree: os.DirFS(dir), files: []string{base}, faults: faults, objects: 1, prefix: prefixOf(dir)}
	if err := a.printFindings(format, found); err != nil {
		return err
	}
	if len(faults) > 0 {
		return exitWith{code: exitFaults}
	}
	return nil
}

// isRun tells a run from facts by what only a run has. What cannot be read is called facts.
func isRun(b []byte) bool {
	var has struct{ Document, Sig, Policy json.RawMessage }
	return json.Unmarshal(b, &has) == nil && (has.Document != nil || has.Sig != nil || has.Policy != nil)
}
