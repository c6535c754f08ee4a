package proc

import "testing"

func TestAnIdentityIsPIDAndStartTime(t *testing.T) {
	id, err := ParseID("1234:5678901")
	if err != nil || id != (ID{1234, 5678901}) || id.String() != "1234:5678901" {
		t.Errorf("%v, %v", id, err)
	}
	for _, s := range []string{"", ":", "1", "1:", ":1", "0:1", "-1:1", "1:-1", "1:+1", "+1:1", "1:1:1", " 1:1", "1:1\n", "4194305:1", "1:99999999999999999999"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("%q is %v", s, id)
		}
	}
}
