package schema

import (
	"slices"
	"testing"
)

func TestArgumentsAreHeldAgainstParameters(t *testing.T) {
	two, five := 2, 5
	d := Document{Parameters: map[string]DocumentParameter{
		"Action":  {Type: TypeString, AllowedValues: []JSON{`"Scan"`, `"Install"`}},
		"Name":    {Type: TypeString, Default: `""`, AllowedPattern: "[a-z]*|-", MaxChars: &five},
		"Lines":   {Type: TypeStringList, Default: `["x"]`, MinItems: &two, MinChars: &two},
		"Extra":   {Type: TypeStringMap, Default: `{}`, MaxItems: &two},
		"Count":   {Type: TypeInteger, Default: `5`},
		"Confirm": {Type: TypeBoolean, Default: `true`},
		"Tree":    {Type: TypeMapList, Default: `[]`},
	}}
	one := func(s ...string) Argument { return Argument{Texts: s} }
	scan := Arguments{"Action": one("Scan")}
	with := func(name string, a Argument) Arguments { return Arguments{"Action": one("Scan"), name: a} }
	for _, tt := range []struct {
		args Arguments
		want []ArgumentFault
	}{
		{scan, nil},
		{nil, []ArgumentFault{{"Action", -1, true, false, "required; one of Scan, Install"}}},
		{with("Nam", one("x")), []ArgumentFault{{"Nam", -1, false, true, `no such parameter of d (did you mean "Name"?); allowed: Action, Confirm, Count, Extra, Lines, Name, Tree`}}},
		{Arguments{"Action": one("scan")}, []ArgumentFault{{"Action", -1, false, false, `"scan" is not one of Scan, Install (did you mean "Scan"?)`}}},
		{Arguments{"Action": one("Instal")}, []ArgumentFault{{"Action", -1, false, false, `"Instal" is not one of Scan, Install (did you mean "Install"?)`}}},
		{Arguments{"Action": one("Scan", "Install")}, []ArgumentFault{{"Action", -1, false, false, "one text is wanted"}}},
		{Arguments{"Action": {Map: map[string]string{"a": "b"}}}, []ArgumentFault{{"Action", -1, false, false, "one text is wanted"}}},
		{Arguments{"Action": one("{{ssm:/x}}")}, nil},
		{with("Name", one("abc; rm")), []ArgumentFault{{"Name", -1, false, false, `"abc; rm" does not match [a-z]*|-`}}},
		{with("Name", one("abcdef")), []ArgumentFault{{"Name", -1, false, false, "6 characters; at most 5 are allowed"}}},
		{with("Lines", one("ab")), []ArgumentFault{{"Lines", -1, false, false, "1 item; at least 2 wanted"}}},
		{with("Lines", one("ab", "c")), []ArgumentFault{{"Lines", 1, false, false, "1 character; at least 2 are wanted"}}},
		{with("Lines", Argument{Map: map[string]string{}}), []ArgumentFault{{"Lines", -1, false, false, "a struct; a list of texts is wanted"}}},
		{with("Extra", Argument{Map: map[string]string{"a": "1", "b": "2"}}), nil},
		{with("Extra", Argument{Map: map[string]string{"a": "1", "b": "2", "c": "3"}}), []ArgumentFault{{"Extra", -1, false, false, "3 items; at most 2 are allowed"}}},
		{with("Extra", one(`{"a": "1"}`)), nil},
		{with("Extra", one("a")), []ArgumentFault{{"Extra", -1, false, false, "a struct of texts is wanted"}}},
		{with("Count", one("5")), nil},
		{with("Count", one("6")), []ArgumentFault{{"Count", -1, false, false, "nobody can give a parameter of type Integer; it keeps its default"}}},
		{with("Confirm", one("true")), nil},
		{with("Tree", one("[]")), nil},
		{with("Tree", one("[{}]")), []ArgumentFault{{"Tree", -1, false, false, "nobody can give a parameter of type MapList; it keeps its default"}}},
	} {
		if got := d.CheckArguments("d", tt.args); !slices.Equal(got, tt.want) {
			t.Errorf("CheckArguments(%v) = %+v, want %+v", tt.args, got, tt.want)
		}
	}
	if got := (Document{}).CheckArguments("d", Arguments{"x": one("y")}); len(got) != 1 || got[0].Message != "no such parameter of d, which has none" {
		t.Errorf("a document without parameters: %+v", got)
	}
}
