package load

import (
	"regexp"
	"slices"
	"strings"
)

// from says where a limit comes from. In a path * stands for anything.
type limitSource struct{ path, from string }

// limitSources has the origin of each bound of a field. SSM's names are those of its API, version 2014-11-06.
func limitSources() []limitSource {
	const ours = "Dunlin"
	return []limitSource{
		{"activation.NAME.description", "SSM `ActivationDescription`"},
		{"baseline.NAME.description", "SSM `BaselineDescription`"},
		{"parameter.PATH.description", "SSM `ParameterDescription`"},
		{"window.NAME.description", ours + ", as SSM's descriptions of baselines"},
		{"*.description", ours + ", as SSM's descriptions of baselines"},
		{"*.schedule", "SSM `MaintenanceWindowSchedule`, `ScheduleExpression`"},
		{"*.offset", "SSM `MaintenanceWindowOffset`, `ScheduleOffset`"},

		{"baseline.NAME.globalFilters", "SSM `PatchFilterList`"},
		{"baseline.NAME.approvalRules", "SSM `PatchRuleList`"},
		{"baseline.NAME.approvalRules.filters", "SSM `PatchFilterList`"},
		{"baseline.NAME.approvalRules.approveAfterDays", "SSM `ApproveAfterDays`"},
		{"baseline.NAME.globalFilters.*", "SSM `PatchFilterValueList`, `PatchFilterValue`"},
		{"baseline.NAME.approvalRules.filters.*", "SSM `PatchFilterValueList`, `PatchFilterValue`"},
		{"baseline.NAME.approvedPatches", "SSM `PatchIdList`"},
		{"baseline.NAME.rejectedPatches", "SSM `PatchIdList`"},
		{"baseline.NAME.sources", "SSM `PatchSourceList`"},
		{"baseline.NAME.sources.name", "SSM `PatchSourceName`"},
		{"baseline.NAME.sources.products", "SSM `PatchSourceProductList`, `PatchSourceProduct`"},
		{"baseline.NAME.sources.configuration", "SSM `PatchSourceConfiguration`"},
		{"baseline.NAME.maxRemovals", ours},
		{"group.NAME.baselines", ours + ": there are not more operating systems"},
		{"window.NAME.tasks", "SSM's quota of tasks a window"},
		{"window.NAME.tasks.NAME.priority", "SSM `MaintenanceWindowTaskPriority`"},
		{"policy.NAME.blockedPorts", ours},
		{"policy.NAME.blockedPorts.port", "TCP and UDP"},
		{"policy.NAME.users.NAME.uid", "the kernel; 4294967295 is nobody's"},
		{"document.NAME.mainSteps.name", ours},
		{"document.NAME.mainSteps", "SSM: a document without a step is none"},
		{"document.NAME.runtimeConfig", "SSM: a document without a step is none"},
		{"document.NAME.mainSteps.precondition.StringEquals", "SSM"},
		{"document.NAME.mainSteps.inputs.maxAttempts", "SSM"},
		{"document.NAME.mainSteps.inputs.timeoutSeconds", "SSM's agent"},
		{"document.NAME.mainSteps.inputs.*", "SSM"},
		{"document.NAME.parameters.NAME.*", "SSM's agent"},
		{"activation.NAME.limit", "SSM `RegistrationLimit`"},
		{"parameter.PATH.allowedPattern", "SSM `AllowedPattern`"},
		{"parameter.PATH.versions", "SSM's quota of versions a parameter"},
		{"parameter.PATH.versions.NUMBER.recipients", ours + ": what a file of 1 MiB holds, and more"},
		{"parameter.PATH.versions.NUMBER.labels", "SSM `ParameterLabelList`"},
		{"parameter.PATH.versions.NUMBER.value", "SSM's advanced parameters: 8 KB"},
		{"fleet.sync.fetchers", ours},
		{"fleet.witnesses", ours},
		{"fleet.roles.*.threshold", ours},
		{"grant.NAME.ports", "TCP"},
		{"run.comment", "SSM `Comment`"},
		{"exception.NAME.reason", ours},
		{"exception.NAME.patches", "SSM `PatchId`"},
		{"guardrail.NAME.limit.*", "a count"},
		{"facts.candidates.phased", "a percentage"},
		{"*.tags", "AWS's tags a resource"},
		{"report.counts.*", "counts"},
		{"report.rev", ours},
		{"guardrail.NAME.limit", ours + ": a guardrail without a limit is none"},
		{"*", ""}, // a list, map or text that must not be empty, and a form's version
	}
}

// handLimits are bounds that the loader checks beyond the definitions.
func handLimits() map[string][][3]string {
	return map[string][][3]string{
		"window":      {{"`duration`", "1h to 24h", "SSM `MaintenanceWindowDurationHours`"}, {"`cutoff`", "0h to less than `duration`", "SSM `MaintenanceWindowCutoff`"}},
		"association": {{"`schedule` with rate", "30 minutes to less than 31 days", "SSM State Manager"}},
		"activation":  {{"`expires`", "at most 30 days ahead", "SSM `ExpirationDate`"}},
		"document":    {{"the whole document", "at most 64 KiB", "SSM `DocumentContent`"}, {"`aws:runDocument`", "at most 3 deep", "SSM's agent"}},
		"run":         {{"`deliveryTimeout`", "30s to 30d", "SSM `TimeoutSeconds`"}, {"`executionTimeout`", "5s to 2d", "SSM's agent"}},
		"grant":       {{"`maxDuration`", "1m to 24h", "SSM `maxSessionDuration`"}},
		"policy":      {{"`files.PATH.source`", "at most 1 MiB", "Dunlin"}},
		"parameter":   {{"its path", "at most 15 levels and 1011 characters, not under /aws or /ssm", "SSM `PSParameterName`"}, {"a label", "at most 100 characters", "SSM `ParameterLabel`"}},
		"types": {
			{"Targets: keys of `tags`", "at most 5", "SSM `Targets`"},
			{"Targets: values of a tag, `groups`, `os`, `resourceGroups`", "at most 50", "SSM `TargetValues`"},
			{"Targets: `nodes`", "at most 1000", "Dunlin; SSM takes 50 ids"},
			{"TagKey, TagValue, Tags", "1 to 128 characters, at most 256 characters, at most 50", "AWS's tags"},
			{"Concurrency", "a count from 1 or 1% to 100%", "SSM `MaxConcurrency`"},
			{"ErrorLimit", "a count from 0 or 0% to 100%", "SSM `MaxErrors`"},
			{"Schedule", "at most 256 characters", "SSM `MaintenanceWindowSchedule`, `ScheduleExpression`"},
			{"PatchName", "1 to 100 characters", "SSM `PatchId`"},
			{"ParameterName", "at most 15 levels and 1011 characters", "SSM `PSParameterName`"},
			{"Description", "1 to 1024 characters", "SSM `BaselineDescription`, `ParameterDescription`"},
			{"Name, DocumentName", "at most 63 characters", "Dunlin; SSM takes 3 to 128"},
			{"OperatingSystem, Severity, ComplianceLevel", "their words", "SSM, and FEDORA"},
		},
		"fleet": {{"`sync.interval`, `reports.interval`", "at least 1s", "Dunlin"}},
	}
}

// referenced is the page of what a field names.
func referenced(path string) string {
	name := path[strings.LastIndexByte(path, '.')+1:]
	switch {
	case path == "policy.NAME.users.NAME.groups" || path == "parameter.PATH.policies" || strings.HasPrefix(path, "facts.") || strings.HasPrefix(path, "agent."):
		return ""
	case strings.HasPrefix(path, "run.") && name == "fleet" || strings.HasPrefix(path, "report.") && name == "fleet":
		return "fleet"
	}
	return map[string]string{
		"document": "document", "documents": "document", "documentPath": "document", "window": "window", "calendars": "calendar", "notify": "sink", "secret": "parameter", "parameter": "parameter",
		"baselines": "baseline", "groups": "group", "resourceGroups": "resourceGroup", "policies": "policy", "who": "fleet", "activations": "activation", "witnesses": "roster", "nodes": "roster",
	}[name]
}

// bound is what a type in words says of how many, empty where it says nothing.
func bound(t string) string {
	var out []string
	for _, m := range append(ofNumber.FindAllStringSubmatch(t, -1), inSpan.FindAllStringSubmatch(t, -1)...) {
		out = append(out, m[1])
	}
	if len(out) == 2 && strings.HasPrefix(t, "list of") {
		return out[1] + ", each " + out[0]
	}
	return strings.Join(out, ", ")
}

// sourceOf is the entry of a path; nothing where there is none of its own.
func sourceOf(path string) (limitSource, bool) {
	for _, s := range limitSources() {
		if ok, _ := regexp.MatchString("^"+strings.ReplaceAll(regexp.QuoteMeta(s.path), `\*`, `.*`)+"$", path); ok {
			return s, s.path != "*"
		}
	}
	return limitSource{}, false
}

// matches reports whether a description's path is that of a limit, with * for names.
func matches(limit, path string) bool {
	a, b := strings.Split(limit, "."), strings.Split(path, ".")
	return slices.EqualFunc(a, b, func(l, p string) bool { return l == p || l == "*" && p == strings.ToUpper(p) })
}
