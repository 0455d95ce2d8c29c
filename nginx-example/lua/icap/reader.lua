--- Bounded reads from a stream of bytes, in the three ways ICAP and HTTP/1.1 need: a head, a line, a piece of a body.
-- The stream is a function that returns some bytes, or nil and an error. Nothing here knows of sockets.

local find, sub = string.find, string.sub

local Reader = {}
Reader.__index = Reader

--- @param receive function: some bytes, at least one; or nil and an error.
function Reader.new(receive)
    return setmetatable({ receive = receive, buffer = "", at = 1 }, Reader)
end

local function fill(self)
    local bytes, err = self.receive()
    if not bytes then
        return nil, err
    end
    if self.at > #self.buffer then
        self.buffer = bytes
    else
        self.buffer = sub(self.buffer, self.at) .. bytes
    end
    self.at = 1
    return true
end

--- What comes before the mark, and takes the mark away too. Never holds more than `max_bytes` and one receive.
local function up_to(self, mark, max_bytes)
    local from = self.at
    while true do
        local first, last = find(self.buffer, mark, from, true)
        -- Without the mark, its beginning may be among what is there.
        local length = (first or #self.buffer + 2 - #mark) - self.at
        if length > max_bytes then
            return nil, "more than " .. max_bytes .. " bytes of protocol"
        end
        if first then
            local text = sub(self.buffer, self.at, first - 1)
            self.at = last + 1
            return text
        end
        -- The mark may lie across two receives: look again at its length less one.
        local seen = #self.buffer - self.at + 1
        local ok, err = fill(self)
        if not ok then
            return nil, err
        end
        from = math.max(1, seen - #mark + 2)
    end
end

--- A line without its CRLF.
function Reader:line(max_bytes)
    return up_to(self, "\r\n", max_bytes)
end

--- A head: start line and fields, each with its CRLF, without the empty line after them.
function Reader:head(max_bytes)
    local text, err = up_to(self, "\r\n\r\n", max_bytes)
    return text and text .. "\r\n", err
end

--- Exactly so many bytes: for what is small, as they are held together.
function Reader:exactly(count)
    while #self.buffer - self.at + 1 < count do
        local ok, err = fill(self)
        if not ok then
            return nil, err
        end
    end
    local bytes = sub(self.buffer, self.at, self.at + count - 1)
    self.at = self.at + count
    return bytes
end

--- What is there, at least one byte and at most `max_bytes`.
function Reader:piece(max_bytes)
    if self.at > #self.buffer then
        local ok, err = fill(self)
        if not ok then
            return nil, err
        end
    end
    if self.at == 1 and #self.buffer <= max_bytes then
        local bytes = self.buffer
        self.buffer = ""
        return bytes
    end
    local bytes = sub(self.buffer, self.at, self.at + max_bytes - 1)
    self.at = self.at + #bytes
    return bytes
end

--- Bytes came that nobody has asked for: the connection is not at a boundary of messages.
function Reader:has_rest()
    return self.at <= #self.buffer
end

return Reader
