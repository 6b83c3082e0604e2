package ssm

import (
	"errors"
	"fmt"
	slash "path"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Documents takes command documents of schema 2.2, 2.0 and 1.2, in JSON or YAML, alone or as `aws ssm get-document` prints
// them. A document alone is called as its file, without the ending. name, if given, is used in place of what the input says.
func Documents(in []Input, name string) (Result, error) {
	m := &making{}
	for _, f := range in {
		values, err := read(f)
		if err != nil {
			return Result{}, fmt.Errorf("read %q: %w", f.Name, err)
		}
		for _, v := range values {
			if err := m.document(v, f.Name, name); err != nil {
				return Result{}, fmt.Errorf("read %q: %w", f.Name, err)
			}
		}
	}
	if name != "" && len(m.objects) > 1 {
		return Result{}, fmt.Errorf("--name %q is for one document, and there are %d", name, len(m.objects))
	}
	return m.result()
}

func (m *making) document(v *node, file, name string) error {
	if d := v.peek("Document"); d.has("Content") {
		return m.document(d, file, name)
	}
	content, called := v, strings.TrimSuffix(slash.Base(file), slash.Ext(file))
	about := "From a document of AWS Systems Manager"
	switch {
	case v.has("Content"):
		if t := v.str("DocumentType"); t != "" && t != "Command" {
			return fmt.Errorf("%q is a document of type %s; only those of type Command can be run here", v.str("Name"), t)
		}
		v.get("DocumentFormat").all()
		var err error
		if content, err = inner(v.get("Content")); err != nil {
			return fmt.Errorf("its Content: %w", err)
		}
		called = v.str("Name")
		about = comment("From "+called+" of AWS Systems Manager", v, "DisplayName", "VersionName", "DocumentVersion", "Status", "ReviewStatus", "CreatedDate")
	case v.has("Document"):
		return errors.New("this is what aws ssm describe-document prints, which has no steps; give what aws ssm get-document --name NAME prints")
	case v.has("DocumentIdentifiers"):
		return errors.New("this is a list of documents; give what aws ssm get-document --name NAME prints")
	case !v.is(object):
		return errors.New("not a document: an object with schemaVersion is wanted")
	}
	if name != "" {
		called = name
	}
	version, why := schemaVersion(content.get("schemaVersion"))
	switch {
	case version == "":
		return errors.New(why)
	case !content.has("mainSteps") && !content.has("runtimeConfig"):
		return errors.New("not a command document: it has neither mainSteps nor runtimeConfig")
	}
	short, err := m.name(called)
	if err != nil {
		return err
	}
	o := &made{kind: "document", name: short, value: &node{kind: object, comments: []string{about}}}
	m.objects = append(m.objects, o)
	m.renamed(o, called)
	if v != content {
		m.lost(o, nil, "", v)
	}
	if why != "" {
		m.note(o, nil, "schemaVersion", "%s", why)
	}
	out := o.value
	out.put("schemaVersion", str(version))
	if content.peek("description").is(text) {
		out.move(content, "description")
	}
	parameters := m.parameters(o, content)
	if len(parameters.kids) > 0 {
		out.put("parameters", parameters)
	} else {
		out.comments = append(out.comments, parameters.comments...)
	}
	var pasted []string
	if version == string(schema.Schema12) {
		out.put("runtimeConfig", m.plugins(o, content, &pasted))
	} else {
		out.put("mainSteps", m.steps(o, content, version, &pasted))
	}
	for i, name := range parameters.keys {
		p := parameters.kids[i]
		if slices.Contains(pasted, name) && !p.has("interpolationType") {
			p.put("interpolationType", str(string(schema.InterpolateText)))
			m.note(o, p, "parameters."+name, `its value is pasted into a script, which interpolationType "TEXT" keeps; safer is to take that out and write "$SSM_%s" in the script`, name)
		}
	}
	m.lost(o, nil, "", content)
	return nil
}

// inner is the content of a document, which AWS prints as a text.
func inner(v *node) (*node, error) {
	if !v.is(text) {
		return v, nil
	}
	values, err := read(Input{Text: []byte(v.text)})
	if err != nil {
		return nil, err
	}
	if len(values) != 1 || !values[0].is(object) {
		return nil, errors.New("not a document: an object with schemaVersion is wanted")
	}
	return values[0], nil
}

// comment tells of fields that a service has made.
func comment(first string, v *node, fields ...string) string {
	for _, f := range fields {
		x := v.peek(f)
		if x.empty() {
			continue
		}
		v.get(f).all()
		words := strings.ToLower(strings.Join(split(f), " "))
		s := x.text
		if !x.is(text) {
			s = x.brief()
		}
		first += ", " + words + " " + s
	}
	return first
}

// split cuts CreatedDate into its words.
func split(s string) []string {
	var out []string
	from := 0
	for i := 1; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' && (s[i-1] < 'A' || s[i-1] > 'Z') {
			out = append(out, s[from:i])
			from = i
		}
	}
	return append(out, s[from:])
}

// schemaVersion is the version to write and what became of it, or why there is none.
func schemaVersion(v *node) (version, why string) {
	if v == nil {
		return "", "not a document: schemaVersion is missing"
	}
	s := v.text
	switch {
	case s == "2.2" || s == "2.0" || s == "1.2":
		version = s
	case strings.HasPrefix(s, "2.0."):
		version = "2.0"
	case s == "1.0":
		version = "1.2"
	case s == "0.3":
		return "", "schemaVersion 0.3 is an Automation runbook; only command documents, 2.2, 2.0 and 1.2, can be run here"
	default:
		return "", fmt.Sprintf("schemaVersion %s is not one of 2.2, 2.0, 1.2", v.brief())
	}
	switch {
	case s != version:
		return version, "was " + s
	case !v.is(text):
		return version, "was a number"
	}
	return version, ""
}

func (m *making) parameters(o *made, content *node) *node {
	out := &node{kind: object}
	from := content.peek("parameters")
	if !from.is(object) {
		return out
	}
	from = content.get("parameters")
	for _, name := range from.keys {
		if !alphanumeric(name) {
			from.get(name).all()
			m.note(o, out, "parameters."+name, "the name is not letters and digits alone: agents leave such a parameter out, and its places in the document as they are")
			continue
		}
		in, p := from.get(name), &node{kind: object}
		if !in.is(object) {
			out.put(name, in.all()) // for validate to refuse
			continue
		}
		for _, f := range []string{"type", "description", "default", "allowedValues", "allowedPattern", "displayType", "interpolationType"} {
			p.move(in, f)
		}
		for _, f := range []string{"minItems", "maxItems", "minChars", "maxChars"} {
			v := in.get(f)
			switch i, err := strconv.ParseInt(textOf(v), 10, 32); {
			case v == nil:
			case err == nil && i >= 0 && v.is(number):
				p.put(f, v)
			case err == nil && i >= 0:
				p.put(f, num(strconv.FormatInt(i, 10)))
				m.note(o, p, "parameters."+name+"."+f, "was the text %q", v.text)
			default:
				m.note(o, p, "parameters."+name+"."+f, "%s is no bound that agents keep, and is left out", v.all().brief())
			}
		}
		out.put(name, p)
		m.lost(o, p, "parameters."+name, in)
	}
	return out
}

func textOf(n *node) string {
	if n == nil {
		return ""
	}
	return n.text
}

func alphanumeric(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// flow are the inputs that every action has.
func flow() []string {
	return []string{"onFailure", "onSuccess", "finallyStep", "maxAttempts", "timeoutSeconds"}
}

// inputs are the further inputs of an action of this language; false if there is no such action.
func inputs(action string) ([]string, bool) {
	switch strings.TrimPrefix(action, "aws:") {
	case "runShellScript", "runPowerShellScript":
		return []string{"runCommand", "workingDirectory", "environment"}, true
	case "runDocument":
		return []string{"documentType", "documentPath", "documentParameters"}, true
	case "downloadContent":
		return []string{"sourceType", "sourceInfo", "destinationPath"}, true
	case "configurePackage":
		return []string{"name", "action", "installationType", "version", "repository", "additionalArguments"}, true
	case "softwareInventory":
		return []string{"applications", "awsComponents", "networkConfig", "windowsUpdates", "instanceDetailedInformation", "services",
			"windowsRoles", "customInventory", "billingInfo", "customInventoryDirectory", "files", "windowsRegistry"}, true
	case "psModule":
		return []string{"source", "sourceHash", "runCommand", "workingDirectory"}, true
	case "refreshAssociation":
		return []string{"associationIds"}, true
	}
	return nil, false
}

// Inputs are the inputs of an action of SSM that are taken over; none of an action that is not known here.
func Inputs(action string) []string {
	list, ok := inputs(action)
	if !ok {
		return nil
	}
	return append(list, flow()...)
}

func (m *making) steps(o *made, content *node, version string, pasted *[]string) *node {
	list_ := content.peek("mainSteps")
	if !list_.is(list) {
		return content.get("mainSteps").all()
	}
	out := &node{kind: list}
	from := content.items("mainSteps")
	for i, in := range from {
		path := fmt.Sprintf("mainSteps[%d]", i)
		if !in.is(object) {
			out.kids = append(out.kids, in.all())
			continue
		}
		step := &node{kind: object}
		out.kids = append(out.kids, step)
		action := in.str("action")
		step.put("action", in.get("action"))
		step.move(in, "name")
		step.move(in, "description")
		step.move(in, "precondition")
		if step.has("precondition") && version != string(schema.Schema22) {
			m.note(o, step, path+".precondition", "agents fail a step with a precondition unless schemaVersion is 2.2")
		}
		known := Inputs(action)
		if known == nil {
			m.note(o, step, path+".action", "there is no %q here: dunlin validate refuses this step until it is written otherwise", action)
			step.move(in, "inputs")
			m.lost(o, step, path, in)
			continue
		}
		from_, to := in.get("inputs"), &node{kind: object}
		if from_.is(object) {
			for _, f := range from_.keys {
				switch {
				case f == "finallyStep" && i < len(from)-1 && strings.EqualFold(textOf(from_.peek(f)), "true"):
					from_.get(f)
					m.note(o, to, path+".inputs.finallyStep", "agents ignore it but in the last step, and it is left out")
				case slices.Contains(known, f):
					to.move(from_, f)
				default: // agents do not mind capital letters
					k := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, f) })
					if k >= 0 && !from_.has(known[k]) {
						to.put(known[k], from_.get(f).all())
						m.note(o, to, path+".inputs."+f, "is written %s here", known[k])
					}
				}
			}
		} else {
			to = from_.all()
		}
		step.put("inputs", to)
		pastes(action, to, pasted)
		m.lost(o, step, path, in)
	}
	return out
}

// plugins are those of schema 1.2, whose properties are taken as they are.
func (m *making) plugins(o *made, content *node, pasted *[]string) *node {
	from := content.get("runtimeConfig")
	if !from.is(object) {
		return from.all()
	}
	out := &node{kind: object}
	for _, action := range from.keys {
		in, plugin := from.get(action), &node{kind: object}
		if !in.is(object) {
			out.put(action, in.all())
			continue
		}
		for _, f := range []string{"description", "settings", "properties"} {
			plugin.move(in, f)
		}
		if Inputs(action) == nil {
			m.note(o, plugin, "runtimeConfig."+action, "there is no %q here: dunlin validate refuses it until it is written otherwise", action)
		}
		switch p := plugin.peek("properties"); {
		case p.is(object):
			pastes(action, p, pasted)
		case p.is(list):
			for _, x := range p.kids {
				pastes(action, x, pasted)
			}
		}
		out.put(action, plugin)
		m.lost(o, plugin, "runtimeConfig."+action, in)
	}
	return out
}

// pastes adds the parameters whose values a script of these inputs takes as a part of its text.
func pastes(action string, inputs *node, out *[]string) {
	lines := inputs.peek("runCommand")
	switch strings.TrimPrefix(action, "aws:") {
	case "runShellScript", "runPowerShellScript", "psModule":
	case "runDocument": // one that runs what it is given
		if path := inputs.peek("documentPath"); !path.is(text) || path.text != "AWS-RunShellScript" && path.text != "AWS-RunPowerShellScript" {
			return
		}
		lines = inputs.peek("documentParameters").peek("commands")
	default:
		return
	}
	if lines == nil {
		return
	}
	for _, line := range append(slices.Clone(lines.kids), lines) {
		if _, whole := schema.WholePlaceholder(line.text); !line.is(text) || whole {
			continue
		}
		for _, p := range schema.Placeholders(line.text) {
			if p.Source == schema.FromParameter {
				*out = append(*out, p.Name)
			}
		}
	}
}
