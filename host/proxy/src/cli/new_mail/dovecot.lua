-- Tells Reprieve that a user has new mail, for each message that Dovecot stores in an INBOX.
-- Made by `reprieve new-mail dovecot-script`.
--
-- Put it in a file that only the users can read that Dovecot stores mail as, for example:
--
--     install -o root -g vmail -m 0640 reprieve.lua /etc/dovecot/reprieve.lua
--
-- Dovecot 2.3, in /etc/dovecot/local.conf (not for pop3: a POP3 session knows what it deletes):
--
--     protocol lmtp {
--       mail_plugins = $mail_plugins notify mail_lua push_notification push_notification_lua
--     }
--     protocol lda {
--       mail_plugins = $mail_plugins notify mail_lua push_notification push_notification_lua
--     }
--     protocol imap {
--       mail_plugins = $mail_plugins notify mail_lua push_notification push_notification_lua
--     }
--     plugin {
--       push_notification_driver = lua:file=/etc/dovecot/reprieve.lua
--     }
--
-- Dovecot 2.4, with the same three protocols:
--
--     protocol lmtp {
--       mail_plugins {
--         notify = yes
--         mail_lua = yes
--         push_notification = yes
--         push_notification_lua = yes
--       }
--     }
--     push_notification lua {
--       lua_file = /etc/dovecot/reprieve.lua
--     }
--
-- For https with a certificate of your own authority: ssl_client_ca_file = /etc/dovecot/ca.pem

local urls = {
@URLS@
}
local token = @TOKEN@
-- Whether each URL gets each signal: for proxies that do not share a store. Otherwise the first one that
-- accepts it.
local all = @ALL@
-- The delivery waits for the answer, at most so long per URL.
local timeout_ms = 500

local function new_client()
  -- Dovecot 2.3 ignores names that it does not know, and 2.4 refuses them.
  local is_old, client = pcall(dovecot.http.client, {
    connect_timeout_msecs = timeout_ms,
    request_timeout_msecs = timeout_ms,
    request_absolute_timeout_msecs = timeout_ms,
    max_attempts = 1,
    no_auto_redirect = true,
  })
  if is_old then
    return client
  end
  return dovecot.http.client({
    connect_timeout = timeout_ms .. "ms",
    request_timeout = timeout_ms .. "ms",
    request_absolute_timeout = timeout_ms .. "ms",
    request_max_attempts = 1,
    request_max_redirects = 0,
  })
end

local client = nil

-- Returns nil, or why the proxy has not accepted the signal.
local function send(url, body)
  local request = client:request({ url = url, method = "POST" })
  request:add_header("Content-Type", "application/json")
  if token then
    request:add_header("Authorization", "Bearer " .. token)
  end
  request:set_payload(body)
  local response = request:submit()
  local status = response:status()
  if status >= 200 and status < 300 then
    return nil
  end
  return url .. ": " .. string.format("%d ", status) .. response:reason()
end

local function quoted(text)
  local escaped = text:gsub('[%c"\\]', function(character)
    return string.format("\\u%04x", character:byte())
  end)
  return '"' .. escaped .. '"'
end

local function signal(user)
  client = client or new_client()
  local body = '{"users":[' .. quoted(user) .. "]}"
  local failures = {}
  for _, url in ipairs(urls) do
    local is_sent, failure = pcall(send, url, body)
    if is_sent and not failure then
      if not all then
        return
      end
    else
      table.insert(failures, tostring(failure))
    end
  end
  if #failures > 0 then
    error(table.concat(failures, "; "), 0)
  end
end

function dovecot_lua_notify_begin_txn(user)
  return { user = user.username, has_new_mail = false }
end

function dovecot_lua_notify_event_message_new(transaction, event)
  -- POP3 shows no other mailbox.
  if event.mailbox == "INBOX" then
    transaction.has_new_mail = true
  end
end

function dovecot_lua_notify_event_message_append(transaction, event)
  dovecot_lua_notify_event_message_new(transaction, event)
end

function dovecot_lua_notify_end_txn(transaction)
  if not transaction.has_new_mail then
    return
  end
  -- The message is stored: nothing may make its delivery fail.
  local is_sent, failure = pcall(signal, transaction.user)
  if not is_sent then
    dovecot.i_error("reprieve: the signal of new mail for " .. transaction.user .. " is lost: " .. tostring(failure))
  end
end
