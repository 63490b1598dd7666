package parts

import (
	"strings"
	"testing"

	"facescan/store"
)

// TestArray reads the place of a process in an array from what Slurm and Kubernetes set.
func TestArray(t *testing.T) {
	whole := map[string]string{"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4",
		"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_STEP": "1"}
	names := []string{"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN",
		"SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP", "JOB_COMPLETION_INDEX"}
	set := func(t *testing.T, changes string) {
		for _, name := range names {
			t.Setenv(name, whole[name])
		}
		for change := range strings.FieldsSeq(changes) {
			name, value, _ := strings.Cut(change, "=")
			t.Setenv(name, value)
		}
	}
	const part = "takes only a whole array"
	for _, c := range []struct {
		changes, fault string
		of             int
	}{
		{"", "", 4},
		{"SLURM_ARRAY_TASK_MAX= SLURM_ARRAY_TASK_STEP=", "", 4},
		{"SLURM_ARRAY_TASK_COUNT=2 SLURM_ARRAY_TASK_MAX=1", "", 2},
		{"SLURM_ARRAY_TASK_ID=", "SLURM_ARRAY_TASK_ID is not set", 0},
		{"SLURM_ARRAY_TASK_ID=x", `SLURM_ARRAY_TASK_ID="x" is not a number`, 0},
		{"SLURM_ARRAY_TASK_COUNT=", "SLURM_ARRAY_TASK_COUNT is not set", 0},
		{"SLURM_ARRAY_TASK_MIN=", "SLURM_ARRAY_TASK_MIN is not set", 0},
		{"SLURM_ARRAY_TASK_MAX=x", `SLURM_ARRAY_TASK_MAX="x" is not a number`, 0},
		{"SLURM_ARRAY_TASK_MIN=1", part, 0},
		{"SLURM_ARRAY_TASK_STEP=2", part, 0},
		{"SLURM_ARRAY_TASK_MAX=7", part, 0},
		{"SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_MAX=0", part, 0},
	} {
		t.Run(c.changes, func(t *testing.T) {
			set(t, c.changes)
			n, err := SlurmNode()
			if c.fault == "" && (err != nil || n != store.Node{I: 3, Of: c.of}) ||
				c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("%v, %v", n, err)
			}
		})
	}
	for changes, want := range map[string]string{
		"": "3", "JOB_COMPLETION_INDEX=3": "3", "SLURM_ARRAY_TASK_ID= JOB_COMPLETION_INDEX=5": "5",
		"JOB_COMPLETION_INDEX=4": "SLURM_ARRAY_TASK_ID=3 and JOB_COMPLETION_INDEX=4 " +
			"disagree",
		"SLURM_ARRAY_TASK_ID=": "neither SLURM_ARRAY_TASK_ID nor " +
			"JOB_COMPLETION_INDEX is set",
		"SLURM_ARRAY_TASK_ID= JOB_COMPLETION_INDEX=no": `JOB_COMPLETION_INDEX="no" is not a number`,
	} {
		t.Run(changes, func(t *testing.T) {
			set(t, changes)
			i, err := ArrayIndex()
			if got := []string{"0", "1", "2", "3", "4", "5"}[i]; err == nil && got != want ||
				err != nil && err.Error() != want {
				t.Errorf("%d, %v, want %s", i, err, want)
			}
		})
	}
}
