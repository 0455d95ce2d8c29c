--- One connection to an ICAP server: opened or taken from the pool, read with patience, kept or closed.
--
-- A writer thread may send while the reader reads. The reader's clock is this: the server owes us something unless we
-- are waiting for the body's source, and every byte either way starts the wait anew. The total time bounds all of it
-- until the answer's head is there.

local Reader = require "icap.reader"

local KEEP_MS = 30000 -- less than any server keeps an idle connection; icapd: 120 s
local KEEP_MAX = 64 -- of each worker, to each service
local READ_BYTES = 32768
local READ_MAX_S = 86400 -- no body's source is waited for longer in one read; a timer has to have some number
-- Cosockets of Debian 12 cannot be woken or half-closed: while a writer runs, look this often whether it has failed.
local LOOK_S = 0.5

local Connection = {}
Connection.__index = Connection

local function milliseconds(seconds)
    return math.max(1, math.ceil(seconds * 1000))
end

function Connection:receive()
    -- Who reads only now, because the client took its time, has not been kept waiting.
    self.progress_at = ngx.now()
    while true do
        local now = ngx.now()
        if self.source_err then
            return nil, self.source_err
        end
        local patience = self.waits_for_source and math.huge or self.progress_at + self.timeouts.read - now
        local left = math.min(patience, self.deadline - now)
        if left <= 0 then
            self.has_timed_out = true
            return nil, "timeout"
        end
        self:set_timeouts(self.writer and math.min(left, LOOK_S) or left)
        local bytes, err = self.socket:receiveany(READ_BYTES)
        if bytes then
            self.progress_at = ngx.now()
            self.has_heard = true
            return bytes
        elseif err ~= "timeout" then
            return nil, err
        end
    end
end

function Connection:set_timeouts(read_s)
    local timeouts = self.timeouts
    local read_ms = milliseconds(math.min(read_s, READ_MAX_S))
    self.socket:settimeouts(milliseconds(timeouts.connect), milliseconds(timeouts.send), read_ms)
end

function Connection:send(data)
    local sent, err = self.socket:send(data)
    self.progress_at = ngx.now()
    return sent, err
end

--- Connect to the service, with TLS if its URL says so.
-- @param deadline when an answer must be there, in seconds as ngx.now() counts.
-- @return the connection, or nil and an error.
function Connection.open(service, settings, deadline)
    local socket = ngx.socket.tcp()
    local self = setmetatable(
        { socket = socket, timeouts = settings.timeouts, deadline = deadline, progress_at = ngx.now() },
        Connection
    )
    self.reader = Reader.new(function()
        return self:receive()
    end)
    self:set_timeouts(settings.timeouts.read)
    -- What was verified and what was not never share a pool.
    local pool = { pool = service.name .. (settings.verifies_tls and " verified" or "") }
    local ok, err
    if service.port then
        ok, err = socket:connect(service.address, service.port, pool)
    else
        ok, err = socket:connect(service.address, pool)
    end
    if not ok then
        return nil, "connect: " .. err
    end
    self.is_reused = socket:getreusedtimes() > 0
    if service.tls_name and not self.is_reused then
        -- lua-resty-core 0.1.25 throws at times where a handshake fails.
        local was_called
        was_called, ok, err = pcall(socket.sslhandshake, socket, nil, service.tls_name, settings.verifies_tls)
        if not was_called or not ok then
            socket:close()
            return nil, "TLS: " .. tostring(was_called and err or ok)
        end
    end
    return self
end

--- Into the pool, if the last message on it ended where it should; closed otherwise.
function Connection:release()
    if self.writer or self.must_close or not self.is_at_boundary or self.reader:has_rest() then
        return self:close()
    end
    self.socket:setkeepalive(KEEP_MS, KEEP_MAX)
end

--- Stop the writer. One that is sending is killed, and the connection with it; one that waits for the body's source
-- ends by itself when the source gives something, so that the source lives on and its bytes can be read again.
function Connection:stop_writer(needs_source)
    local writer = self.writer
    if not writer then
        return
    end
    self.must_close = true
    if needs_source and self.waits_for_source then
        self.must_stop = true
        ngx.thread.wait(writer)
    else
        ngx.thread.kill(writer)
    end
    self.writer = nil
end

function Connection:close(needs_source)
    self:stop_writer(needs_source)
    self.socket:close()
end

return Connection
