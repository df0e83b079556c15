-- A denied session answered by HAProxy itself: it remembers when a user was last let in, and poses
-- as a mail server with an empty maildrop. A service cannot hand a session on to a backend, so
-- this is what a denial costs HAProxy at least, not a proxy that could be used.
local remembered = {}

local answers = {
  CAPA = "+OK\r\nTOP\r\nUIDL\r\nUSER\r\n.\r\n",
  STAT = "+OK 0 0\r\n",
  LIST = "+OK\r\n.\r\n",
  UIDL = "+OK\r\n.\r\n",
  PASS = "+OK\r\n",
  NOOP = "+OK\r\n",
  RSET = "+OK\r\n",
}

core.register_service("pose", "tcp", function(session)
  session:send("+OK ready\r\n")
  while true do
    local line = session:getline()
    if not line or line == "" then return end
    local verb, user = string.match(line, "^(%a+) ?([^\r\n]*)")
    verb = string.upper(verb or "")
    if verb == "QUIT" then
      session:send("+OK\r\n")
      return
    elseif verb == "USER" then
      remembered[user] = remembered[user] or core.now().sec
      session:send("+OK\r\n")
    else
      session:send(answers[verb] or "-ERR unknown command\r\n")
    end
  end
end)
