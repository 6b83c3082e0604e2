package load
import ("testing";"time";"fmt")
func TestZZ(t *testing.T){
 m:=estate(100,3)
 c:=partChange{Changed:[]string{"policies/a.cue"},Common:map[string]string{"fleet.cue":"package fleet\nfleet: name: \"acme\"\n"},Context:[]string{"fleet "}}
 c.Changed=[]string{"policies/f00010.cue"}
 c.Before=map[string]string{"policies/f00010.cue":string(m["policies/f00010.cue"].Data)}
 c.After=c.Before
 s:=time.Now(); definitions(); fmt.Println("defs",time.Since(s))
 for i:=0;i<3;i++ { s=time.Now(); v,err:=judgeChange(t.Context(),Options{},&c); fmt.Println(time.Since(s),err,v.Doubt) }
}
